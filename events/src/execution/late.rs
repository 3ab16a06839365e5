//! Evidence that comes too late to be an outcome.

use super::{
    command::{Command, Holder},
    request::{Answer, Bill, ToolCall},
};

/// What came of a call whose attempt had been given up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Late {
    /// What the model answered.
    pub result: Option<String>,
    /// Why the answer ended, in the provider's word.
    pub finish_reason: Option<String>,
    /// What the model thought before it, as far as the provider shows that.
    pub reasoning: Option<String>,
    /// The tools that the model wanted to be called.
    pub tool_calls: Vec<ToolCall>,
    /// What went wrong, if it was no answer.
    pub code: Option<String>,
    /// What it used and cost.
    pub bill: Bill,
}

impl Command {
    /// What is left of an outcome that was refused: evidence, if the provider has said anything.
    pub fn into_late(self) -> Option<Self> {
        let late = |holder: Holder, late: Late| Some(Self::Late { holder, late: Box::new(late) });
        match self {
            Self::Succeed { holder, answer, bill } => {
                let Answer { result, finish_reason, reasoning, tool_calls } = answer;
                let result = Some(result);
                late(holder, Late { result, finish_reason, reasoning, tool_calls, code: None, bill })
            }
            Self::Fail { holder, failed, bill, .. } => {
                late(holder, Late { code: Some(failed.code), bill, ..Late::default() })
            }
            _ => None,
        }
    }
}
