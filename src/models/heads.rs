//! The outputs of a configured discriminator.

use crate::nn::Heads;

use super::config::ModelConfig;
use super::parts::Conditioning;

impl ModelConfig {
    /// The outputs of the discriminator by name: `score`, the logits of the `classes`, and its
    /// predictions of the `codes`. A semi-supervised one has no channel for the score, which
    /// follows from the class logits ([`Conditioning::Semi`]).
    #[must_use]
    pub fn outputs(&self) -> Heads {
        let classes = match self.conditioning {
            Conditioning::Auxiliary | Conditioning::Semi => self.classes,
            Conditioning::Concat | Conditioning::Projection => 0,
        };
        let score = usize::from(!self.is_semi_supervised());
        Heads::new([("score", score), ("classes", classes), ("codes", self.codes.len())])
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use crate::models::{Architecture, Codes, Size};
    use crate::tape::Tape;
    use crate::tensor::DType;

    /// As many channels as the discriminator's last layer has, and the same nodes as slicing by
    /// hand.
    #[test]
    fn a_discriminators_outputs_are_its_last_layers_channels() {
        let size = Size { height: 16, width: 16 };
        let network = Architecture::Dcgan;
        let config =
            ModelConfig { network, size, ngf: 4, ndf: 4, nz: 20, ..ModelConfig::default() };
        let codes = Codes { categories: 4, numbers: 2 };
        let of =
            |classes, conditioning, codes| ModelConfig { classes, conditioning, codes, ..config };
        let no = Codes::default();
        let cases: [(ModelConfig, &[(&str, usize)]); 6] = [
            (config, &[("score", 1)]),
            (of(0, Conditioning::Concat, codes), &[("score", 1), ("codes", 6)]),
            (of(3, Conditioning::Concat, codes), &[("score", 1), ("codes", 6)]),
            (of(3, Conditioning::Auxiliary, no), &[("score", 1), ("classes", 3)]),
            (of(3, Conditioning::Projection, no), &[("score", 1)]),
            (of(3, Conditioning::Semi, no), &[("classes", 3)]),
        ];
        for (config, wanted) in cases {
            let outputs = config.outputs();
            assert_eq!(outputs.iter().collect::<Vec<_>>(), wanted);
            assert_eq!(outputs.width(), 1 + config.heads());
            let last = *config.discriminator().unwrap().sizes([16, 16, 3]).unwrap().last().unwrap();
            assert_eq!(last, [1, 1, outputs.width()]);

            let mut t = Tape::new();
            let y = t.feed("y", &[2, 1, 1, last[2]], DType::F32).unwrap();
            let flat = t.reshape(y, &[2, last[2]]).unwrap();
            let mut at = 0;
            for &(name, width) in wanted {
                let by_hand = t.slice(flat, &[0, at], &[2, width]).unwrap();
                let count = t.nodes().len();
                let split = outputs.split(&mut t, y).unwrap();
                let (_, head) = *split.iter().find(|(own, _)| *own == name).unwrap();
                assert_eq!(head, by_hand, "{name}");
                assert!(at == 0 || t.nodes().len() == count, "{name}");
                assert_eq!(outputs.range(name), Some(at..at + width));
                at += width;
            }
            assert_eq!(outputs.range("mean"), None);
        }
    }
}
