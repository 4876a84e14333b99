//! `--tune`, and its messages while kernels are measured.

use indicatif::{ProgressBar, ProgressStyle};

use crate::device::Device;
use crate::error::Result;
use crate::human;
use crate::program::tune::{Effort, News, Summary, Tuner, recall, tune};
use crate::program::{Choices, Precision};
use crate::tape::Tape;
use crate::terminal::{is_watched, message_above, set_message, set_prefix, tell};

/// Chooses the kernels of `tapes` on `device`, and reports progress on standard error.
pub(super) fn choose(
    tapes: &[(&Tape, Precision)],
    device: &Device,
    effort: Effort,
) -> Result<Choices> {
    let mut teller = Teller::new(device);
    tune(tapes, device, &Tuner::new(effort), &mut |news| teller.tell(news))
}

/// Reuses the kernels that an earlier program ran, if they are those of `device`.
pub(super) fn choose_again(
    tapes: &[(&Tape, Precision)],
    device: &Device,
    record: &Choices,
) -> Choices {
    let mut teller = Teller::new(device);
    recall(tapes, device, record, &mut |news| teller.tell(news))
}

/// Shows news on standard error: a bar on a terminal, a line at the end elsewhere.
struct Teller {
    device: String,
    bar: ProgressBar,
}

impl Teller {
    fn new(device: &Device) -> Self {
        Self { device: device.short_name(), bar: ProgressBar::hidden() }
    }

    fn tell(&mut self, news: News) {
        match news {
            News::Begins { kernels } if is_watched() => {
                let count = human::plural(kernels as u64, "kernel");
                let template =
                    format!("tuning {count} for {{prefix}} {{bar:24}} {{pos}} {{msg}} {{elapsed}}");
                let style = ProgressStyle::with_template(&template);
                self.bar = ProgressBar::new(kernels as u64);
                set_prefix(&self.bar, &self.device);
                self.bar.set_style(style.expect("the template is a constant but for a number"));
            }
            News::Begins { .. } => {}
            News::Next(op) => {
                self.bar.inc(u64::from(!self.bar.message().is_empty()));
                set_message(&self.bar, op);
            }
            News::Warning(text) => message_above(&self.bar, &format!("warning: {text}")),
            News::Ends(summary) => {
                self.bar.finish_and_clear();
                tell!("{}", line(&self.device, summary));
            }
        }
    }
}

/// What a tuning did, in one line.
fn line(device: &str, summary: Summary) -> String {
    let Summary { measured, faster, left, seconds } = summary;
    let mut text = format!(
        "tuning    {} for {device} in {}: {faster} of them run faster than by default",
        human::plural(measured as u64, "kernel"),
        human::duration(seconds)
    );
    if left > 0 {
        text += &format!("; {left} are left for the next time, or for --tune full");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tuning_is_described_in_one_line() {
        let summary = Summary { measured: 7, faster: 3, left: 0, seconds: 3.06 };
        let text = "tuning    7 kernels for card in 3.1s: 3 of them run faster than by default";
        assert_eq!(line("card", summary), text);
        let rest = line("card", Summary { left: 2, ..summary });
        assert_eq!(rest, format!("{text}; 2 are left for the next time, or for --tune full"));
    }
}
