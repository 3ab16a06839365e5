//! A prompt and its versions, as `COPY` writes them.

use events::prompt::row::Prompt;

use crate::bulk::{Line, Row};

impl Row for Prompt {
    const TABLE: &'static str = "prompt";
    const COLUMNS: &'static [&'static str] = &[
        "id",
        "user_id",
        "sub_specialty_id",
        "title",
        "content",
        "variables",
        "llm_provider",
        "model",
        "parameters",
        "is_public",
        "created_at",
        "updated_at",
        "version",
        "position",
        "policy",
    ];

    fn write(&self, line: &mut Line<'_>) {
        begin(self, line)
            .time(self.created_at)
            .time(self.updated_at)
            .int(self.version)
            .long(self.position)
            .maybe_text(self.policy.as_deref());
    }
}

/// The table of all versions.
pub(super) const VERSION_TABLE: &str = "prompt_version";

/// The columns of its rows, in the order in which they are written.
pub(super) const VERSION_COLUMNS: &[&str] = &[
    "id",
    "user_id",
    "sub_specialty_id",
    "title",
    "content",
    "variables",
    "llm_provider",
    "model",
    "parameters",
    "is_public",
    "created_at",
    "version",
    "position",
    "policy",
];

/// Writes the newest version as a row of `prompt_version`: as [`Prompt::version_of`] the last event.
pub(super) fn write_version(prompt: &Prompt, line: &mut Line<'_>) {
    begin(prompt, line)
        .time(prompt.updated_at)
        .int(prompt.version)
        .long(prompt.position)
        .maybe_text(prompt.policy.as_deref());
}

fn begin<'a, 'b>(prompt: &Prompt, line: &'a mut Line<'b>) -> &'a mut Line<'b> {
    line.uuid(prompt.id)
        .uuid(prompt.user_id)
        .uuid(prompt.sub_specialty_id)
        .text(&prompt.title)
        .text(&prompt.content)
        .text(&prompt.variables)
        .text(&prompt.llm_provider)
        .text(&prompt.model)
        .text(&prompt.parameters)
        .bool(prompt.is_public)
}
