//! The names of states: what a file calls the tensors of a training, and which of them are averages
//! of which network.
//!
//! | name | what it is |
//! | --- | --- |
//! | `<network>.main.0.weight` | a network's own tensor |
//! | `ema.<network>.main.0.weight` | its moving average |
//! | `history.<network>.main.0.weight` | the mean of its past values (historical averaging) |
//! | `updates.<network>` | how often the network was updated |
//! | `key` | the key of the device's random numbers |

/// The state that holds the key of the device's random numbers: seed (low, high half), step, 0.
pub const KEY: &str = "key";

/// The prefix of the states of averaged networks.
pub const AVERAGE: &str = "ema";

/// The prefix of the states that hold the means of parameters' past values.
const HISTORY: &str = "history";

/// The prefix of the states that count updates.
const UPDATES: &str = "updates";

/// First parts of names that no network may have.
pub(crate) const RESERVED: [&str; 4] = [KEY, AVERAGE, HISTORY, UPDATES];

/// The name of the state that holds the mean of a parameter's past values.
#[must_use]
pub fn past(name: &str) -> String {
    format!("{HISTORY}.{name}")
}

/// The name of the state that counts a network's updates, without skipped ones, for bias correction
/// and historical means.
#[must_use]
pub fn updates(network: &str) -> String {
    format!("{UPDATES}.{network}")
}

/// The name of the moving average of a network's tensor, or of the network itself.
#[must_use]
pub fn averaged(name: &str) -> String {
    format!("{AVERAGE}.{name}")
}

/// The name of the network's tensor whose EMA is the state called `name`; `None` if it is not an
/// EMA.
#[must_use]
pub fn average_of(name: &str) -> Option<&str> {
    name.strip_prefix(AVERAGE).and_then(|rest| rest.strip_prefix('.'))
}

/// The name of the network's tensor that the state called `name` is an average of; `None` if it is
/// not an average.
#[must_use]
pub fn averaged_from(name: &str) -> Option<&str> {
    let of = |prefix: &&str| name.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('.'));
    [AVERAGE, HISTORY].iter().find_map(of)
}
