//! What came of a call that was tried.

use crate::probe::prober::Probed;
use crate::store::StoreError;
use crate::wall::judge::{Answer, Effect, Observation, is_let_through};

/// Why there is no observation.
pub(super) enum Stop {
    /// The call was not made; why.
    NotMade(String),
    /// No answer came.
    Unanswered(StoreError),
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Unanswered(error)
    }
}

pub(super) type Tried<T> = Result<T, Stop>;

/// What the server said of a call, and whether it was seen to take effect. Where the call can change nothing, or nobody
/// may look, the answer decides.
pub(super) fn said<T>(answer: Probed<T>, happened: Option<bool>) -> Observation {
    let answer = match answer {
        Ok(_) => Answer::Done,
        Err(refusal) => Answer::Refused {
            status: refusal.status,
            text: refusal.to_string(),
            code: refusal.code,
        },
    };
    let effect = match happened {
        Some(true) => Effect::Happened,
        Some(false) => Effect::Nothing,
        None => Effect::Harmless,
    };
    Observation { answer, effect }
}

/// Of the same call in several places or ways, one that was let through where none should be, or one that was not where
/// all should be; else the first.
pub(super) fn which(seen: Vec<Observation>, all_should: bool) -> Tried<Observation> {
    let is_other = |it: &Observation| is_let_through(it) != all_should;
    let at = seen.iter().position(is_other).unwrap_or(0);
    let found = seen.into_iter().nth(at);
    found.ok_or_else(|| Stop::NotMade("there was nothing to try it on".to_owned()))
}

pub(super) fn not_made<T>(why: &str) -> Tried<T> {
    Err(Stop::NotMade(why.to_owned()))
}
