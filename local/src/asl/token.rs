//! Task tokens.
//!
//! A token names one scheduled task (execution, frame, `TaskScheduled` event) and carries a MAC under a key that
//! only this database has. So a token need not be stored to be checked, cannot be guessed, and is the same again
//! when a task has to be scheduled a second time after a crash: the agent sees a duplicate, not a second job.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::limits;

/// The task a token stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct TaskRef {
    pub(crate) execution: i64,
    pub(crate) frame: u32,
    /// The id of the `TaskScheduled` event: a retry is another task with another token.
    pub(crate) event: u64,
}

/// Why a text is no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotAToken {
    /// Nothing this service would ever have issued.
    Malformed,
    /// Well formed, but issued by another database or made up.
    Unknown,
}

/// The key tokens are made and checked with.
#[derive(Clone)]
pub(crate) struct TokenKey(Vec<u8>);

const VERSION: u8 = 1;
const NAME: usize = 1 + 8 + 4 + 8;
const MAC: usize = 32;

impl TokenKey {
    pub(crate) fn new(key: Vec<u8>) -> Self {
        Self(key)
    }

    /// A fresh key, from two random UUIDs (244 random bits).
    pub(crate) fn random() -> Vec<u8> {
        [*uuid::Uuid::new_v4().as_bytes(), *uuid::Uuid::new_v4().as_bytes()].concat()
    }

    pub(crate) fn issue(&self, task: TaskRef) -> String {
        let mut bytes = Vec::with_capacity(NAME + MAC);
        bytes.push(VERSION);
        bytes.extend(task.execution.to_be_bytes());
        bytes.extend(task.frame.to_be_bytes());
        bytes.extend(task.event.to_be_bytes());
        if let Some(mac) = self.mac(&bytes) {
            bytes.extend(mac.finalize().into_bytes());
        }
        URL_SAFE_NO_PAD.encode(bytes)
    }

    pub(crate) fn read(&self, token: &str) -> Result<TaskRef, NotAToken> {
        if token.len() > limits::TOKEN_CHARS {
            return Err(NotAToken::Malformed);
        }
        let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| NotAToken::Malformed)?;
        let (name, mac) = bytes.split_at_checked(NAME).ok_or(NotAToken::Malformed)?;
        if mac.len() != MAC || name[0] != VERSION {
            return Err(NotAToken::Malformed);
        }
        let expected = self.mac(name).ok_or(NotAToken::Unknown)?;
        expected.verify_slice(mac).map_err(|_| NotAToken::Unknown)?;
        let number = |range: std::ops::Range<usize>| {
            name[range].iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte))
        };
        Ok(TaskRef {
            execution: i64::try_from(number(1..9)).map_err(|_| NotAToken::Malformed)?,
            frame: u32::try_from(number(9..13)).map_err(|_| NotAToken::Malformed)?,
            event: number(13..21),
        })
    }

    /// HMAC takes keys of any length, so this is `None` never.
    fn mac(&self, name: &[u8]) -> Option<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).ok()?;
        mac.update(name);
        Some(mac)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TASK: TaskRef = TaskRef { execution: 7, frame: 3, event: 24_999 };

    #[test]
    fn a_token_names_its_task_and_only_under_its_own_key() {
        let key = TokenKey::new(TokenKey::random());
        let token = key.issue(TASK);
        assert!(token.is_ascii() && token.len() <= 1024);
        assert_eq!(key.read(&token), Ok(TASK));
        assert_eq!(TokenKey::new(TokenKey::random()).read(&token), Err(NotAToken::Unknown));
    }

    #[test]
    fn a_changed_token_is_unknown_and_a_text_is_malformed() {
        let key = TokenKey::new(TokenKey::random());
        let mut token = key.issue(TASK).into_bytes();
        token[20] = if token[20] == b'A' { b'B' } else { b'A' };
        let token = String::from_utf8(token).unwrap();
        assert_eq!(key.read(&token), Err(NotAToken::Unknown));
        for text in ["", "no token", "AAAA", "ä", &"A".repeat(5_000)] {
            assert_eq!(key.read(text), Err(NotAToken::Malformed), "{text:.10}");
        }
    }
}
