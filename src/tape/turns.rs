//! Values that states follow one after another, micro-batch by micro-batch, of all ranks.

use std::fmt;

use crate::error::Result;

use super::{Tape, Var};

/// What is done with some values.
type Follow = Box<dyn Fn(&mut Tape, &[Var]) -> Result<()> + Send + Sync>;

/// Values of a micro-batch of this rank, for all ranks to follow.
pub(super) struct Turn {
    values: Vec<Var>,
    follow: Follow,
}

impl fmt::Debug for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turn").field("values", &self.values).finish_non_exhaustive()
    }
}

impl Tape {
    /// Whether a batch has several micro-batches, which other numbers of ranks may share: values that are
    /// followed or added up across them are then computed to the end first, as an exchange does.
    pub fn settle(&mut self, settles: bool) {
        self.settles = settles;
    }

    /// Records `follow` on values of a micro-batch, such as the moments that running statistics follow. In
    /// a step of several ranks that is put off until [`Tape::take_turns`], where every rank follows the
    /// values of all.
    ///
    /// # Errors
    /// Those of `follow`.
    pub fn in_turn(
        &mut self,
        values: &[Var],
        follow: impl Fn(&mut Self, &[Var]) -> Result<()> + Send + Sync + 'static,
    ) -> Result<()> {
        if self.world.is_solo() {
            return match self.settles {
                true => {
                    let values: Vec<Var> =
                        values.iter().map(|&x| self.settled(x)).collect::<Result<_>>()?;
                    follow(self, &values)
                }
                false => follow(self, values),
            };
        }
        self.turns.push(Turn { values: values.to_vec(), follow: Box::new(follow) });
        Ok(())
    }

    /// Follows the values that were put off, of all ranks in the order of their micro-batches; this rank
    /// recorded `parts` of these, with equally many calls of [`Tape::in_turn`] each. `more` are rows of
    /// other values, one for each of this rank's micro-batches; returns those of all.
    ///
    /// # Errors
    /// Those of recording the ops.
    pub fn take_turns(&mut self, parts: usize, more: &[Vec<Var>]) -> Result<Vec<Vec<Var>>> {
        let turns = std::mem::take(&mut self.turns);
        let each = turns.len() / parts.max(1);
        let row = |m: usize| -> Vec<Var> {
            let own = &turns[m * each..(m + 1) * each];
            let more = more.get(m).into_iter().flatten();
            own.iter().flat_map(|turn| &turn.values).chain(more).copied().collect()
        };
        let rows: Vec<Vec<Var>> = (0..parts).map(row).collect();
        let rows = self.rows_of_all(&rows)?;
        let mut others = Vec::with_capacity(rows.len());
        for row in rows {
            let mut at = 0;
            for turn in &turns[..each] {
                let values = &row[at..at + turn.values.len()];
                (turn.follow)(self, values)?;
                at += values.len();
            }
            others.push(row[at..].to_vec());
        }
        Ok(others)
    }

    /// Rows of values of this rank, each like the others, and then of all ranks, in order.
    fn rows_of_all(&mut self, rows: &[Vec<Var>]) -> Result<Vec<Vec<Var>>> {
        let Some(first) = rows.first() else { return Ok(Vec::new()) };
        if first.is_empty() {
            return Ok(vec![Vec::new(); rows.len() * self.world.size()]);
        }
        let shapes: Vec<Vec<usize>> = first.iter().map(|&x| self.shape(x).to_vec()).collect();
        let all = self.all_gather(rows)?;
        let &[count, len] = self.shape(all) else { unreachable!("all_gather gives rows") };
        let mut unpacked = Vec::with_capacity(count);
        for row in 0..count {
            unpacked.push(self.unpacked(all, row * len, &shapes)?);
        }
        Ok(unpacked)
    }

    /// The values of these shapes that lie one behind the other in `packed`, from `start` on.
    ///
    /// # Errors
    /// [`crate::error::Error::Shape`] if there are fewer.
    pub fn unpacked(
        &mut self,
        packed: Var,
        start: usize,
        shapes: &[Vec<usize>],
    ) -> Result<Vec<Var>> {
        let mut at = start;
        let mut values = Vec::with_capacity(shapes.len());
        for shape in shapes {
            let len = shape.iter().product();
            let value = self.range(packed, at, len)?;
            values.push(self.reshape(value, shape)?);
            at += len;
        }
        Ok(values)
    }
}
