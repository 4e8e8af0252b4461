//! Fits a prompt into its token budget: as much material as there is room for, never more.

use minijinja::value::Value;

use crate::prompt::template::TemplateError;
use crate::prompt::{CountTokens, Message, Prompt, Role};
use crate::stage::Context;
use crate::stage::issue::trim_issue;

/// Why there is no prompt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PromptError {
    #[error(transparent)]
    Template(#[from] TemplateError),
    #[error(
        "the {prompt} prompt needs {needed} tokens at the least, more than its budget of {budget}"
    )]
    NoRoom { prompt: &'static str, needed: usize, budget: usize },
    #[error("there is nothing to show in the {prompt} prompt: wanted {wanted}")]
    NothingToShow { prompt: &'static str, wanted: &'static str },
}

/// Token limits of a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Budget {
    /// The contents of all messages together.
    pub prompt_tokens: usize,
    /// Of these, the issue. Equal in all stages of a run, so that their prompts begin alike.
    pub issue_tokens: usize,
}

/// A prompt whose material is not chosen yet.
pub(crate) struct Draft<'a> {
    /// The template.
    name: &'static str,
    context: &'a Context,
    counter: &'a dyn CountTokens,
    budget: Budget,
    system: String,
    issue: String,
}

impl<'a> Draft<'a> {
    pub(crate) fn new(
        name: &'static str,
        context: &'a Context,
        counter: &'a dyn CountTokens,
        budget: Budget,
    ) -> Result<Self, PromptError> {
        let system = context.templates.render("system", &[])?;
        let issue = trim_issue(&context.issue, budget.issue_tokens, counter);
        Ok(Self { name, context, counter, budget, system, issue })
    }

    /// The prompt with the most material, of at most `most` pieces, that fits; and how many
    /// pieces that is. `values` gives the template's values for so many pieces.
    pub(crate) fn fit(
        &self,
        most: usize,
        values: impl Fn(usize) -> Vec<(&'static str, Value)>,
    ) -> Result<(Prompt, usize), PromptError> {
        let render = |n_pieces: usize| -> Result<(String, usize), PromptError> {
            let mut values = values(n_pieces);
            values.push(("issue", Value::from(self.issue.as_str())));
            let user = self.context.templates.render(self.name, &values)?;
            let tokens = self.counter.count(&self.system) + self.counter.count(&user);
            Ok((user, tokens))
        };
        // Where everything fits, one look is enough.
        if most <= self.budget.prompt_tokens {
            let (user, tokens) = render(most)?;
            if tokens <= self.budget.prompt_tokens {
                return Ok((self.prompt(user), most));
            }
        }
        // Every piece costs a token, so the budget bounds the search.
        let (mut fits, mut too_many) = (0, most.min(self.budget.prompt_tokens) + 1);
        while 1 < too_many - fits {
            let middle = usize::midpoint(fits, too_many);
            if render(middle)?.1 <= self.budget.prompt_tokens {
                fits = middle;
            } else {
                too_many = middle;
            }
        }
        // A counter need not grow with every piece, so the last word is the count itself.
        loop {
            let (user, tokens) = render(fits)?;
            if tokens <= self.budget.prompt_tokens && (0 < fits || most == 0) {
                return Ok((self.prompt(user), fits));
            }
            if fits == 0 {
                let needed = render(most.min(1))?.1;
                let budget = self.budget.prompt_tokens;
                return Err(PromptError::NoRoom { prompt: self.name, needed, budget });
            }
            fits -= 1;
        }
    }

    fn prompt(&self, user: String) -> Prompt {
        let message = |role, content| Message { role, content };
        Prompt {
            messages: vec![message(Role::System, self.system.clone()), message(Role::User, user)],
        }
    }
}
