//! Reverse-mode differentiation on the tape itself.

use std::collections::HashMap;

use crate::error::{Error, Result};

use super::{Tape, Var};

impl Tape {
    /// Gradients of the scalar `y` with respect to each of `wrt`, recorded on this tape. A value
    /// that `y` does not depend on has a gradient of zeros.
    ///
    /// Only nodes between `wrt` and `y` are visited: differentiating with respect to the
    /// discriminator's weights never touches the generator.
    ///
    /// # Errors
    /// [`Error::Shape`] where `y` has more than one element, [`Error::NotDifferentiable`] where an
    /// op on the way has no derivative.
    pub fn grad(&mut self, y: Var, wrt: &[Var]) -> Result<Vec<Var>> {
        if self.shape(y).iter().product::<usize>() != 1 {
            return Err(Error::Shape {
                op: "grad",
                what: "only a scalar can be differentiated".into(),
                shapes: vec![self.shape(y).to_vec()],
            });
        }
        let shape = self.shape(y).to_vec();
        let one = self.fill(&shape, 1.0)?;
        self.grad_from(y, one, wrt)
    }

    /// Like [`Tape::grad`] for `y` of any shape, of the scalar `sum(seed * y)`.
    ///
    /// # Errors
    /// [`Error::NotDifferentiable`] where an op on the way has no derivative.
    pub fn grad_from(&mut self, y: Var, seed: Var, wrt: &[Var]) -> Result<Vec<Var>> {
        // between[i]: node i depends on one of `wrt` (and lies before `y`).
        let mut between = vec![false; y.index() + 1];
        for &w in wrt {
            if w.index() <= y.index() {
                between[w.index()] = true;
            }
        }
        for i in 0..=y.index() {
            between[i] |= self.nodes[i].inputs.iter().any(|v| between[v.index()]);
        }

        let mut sums: HashMap<Var, Var> = HashMap::new();
        if between[y.index()] {
            sums.insert(y, seed);
        }
        for i in (0..=y.index()).rev() {
            let output = self.var(i);
            let inputs = self.nodes[i].inputs.clone();
            let needs: Vec<bool> = inputs.iter().map(|v| between[v.index()]).collect();
            let Some(&g) = sums.get(&output).filter(|_| needs.contains(&true)) else { continue };
            let op = self.nodes[i].op.clone();
            let site = self.site(output);
            let parts = op.vjp(self, &site, g, &needs)?;
            debug_assert_eq!(parts.len(), inputs.len(), "{} vjp", op.name());
            for ((&input, part), needs) in inputs.iter().zip(parts).zip(needs) {
                let Some(part) = part.filter(|_| needs) else { continue };
                let shape = self.shape(input).to_vec();
                let part = self.sum_to(part, &shape)?;
                let sum = match sums.get(&input) {
                    Some(&other) => self.add(other, part)?,
                    None => part,
                };
                sums.insert(input, sum);
            }
        }
        wrt.iter()
            .map(|w| match sums.get(w) {
                Some(&g) => Ok(g),
                None => {
                    let shape = self.shape(*w).to_vec();
                    self.fill(&shape, 0.0)
                }
            })
            .collect()
    }
}
