//! Finds command blocks in Markdown and reads their marks.

use anyhow::{Context, Result, bail};

/// Languages whose blocks are commands.
const LANGUAGES: [&str; 4] = ["sh", "bash", "shell", "console"];

/// One fenced block of commands.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Block {
    /// Line of its fence, from 1.
    pub(super) line: usize,
    pub(super) mark: Mark,
    /// What a shell runs.
    pub(super) commands: String,
}

/// Who runs a block, and how.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// Nobody, for this reason.
    None(String),
    /// A suite. A block that does not end by itself says by which text it is seen to be ready, or that it
    /// stays while the blocks behind it run.
    Suite {
        name: String,
        until: Option<String>,
        background: bool,
    },
}

/// All command blocks of a text. The error names the line of a block without a mark, or with a wrong one.
pub(super) fn blocks(text: &str) -> Result<Vec<Block>> {
    let mut blocks = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        let indent = line.len() - line.trim_start().len();
        let ticks = line
            .trim_start()
            .chars()
            .take_while(|character| *character == '`')
            .count();
        if ticks < 3 {
            continue;
        }
        let fence = "`".repeat(ticks);
        let info = line.trim_start().trim_start_matches('`').trim();
        let body: Vec<&str> = lines
            .by_ref()
            .map(|(_, line)| line)
            .take_while(|line| line.trim() != fence)
            .map(|line| line.get(indent..).unwrap_or_else(|| line.trim_start()))
            .collect();
        let (language, rest) = info.split_once(' ').unwrap_or((info, ""));
        if LANGUAGES.contains(&language) {
            let mark = mark(rest).with_context(|| format!("line {}", index + 1))?;
            let commands = if language == "console" {
                typed(&body)
            } else {
                body.join("\n")
            };
            blocks.push(Block {
                line: index + 1,
                mark,
                commands,
            });
        }
    }
    Ok(blocks)
}

fn mark(text: &str) -> Result<Mark> {
    let Some(text) = text.trim().strip_prefix("test=") else {
        bail!("a block of commands says who runs it: `test=SUITE`, or `test=none` and the reason");
    };
    let (name, mut rest) = text.split_once(' ').unwrap_or((text, ""));
    if name == "none" {
        if rest.trim().is_empty() {
            bail!("`test=none` is followed by the reason");
        }
        return Ok(Mark::None(rest.trim().to_owned()));
    }
    let (mut until, mut background) = (None, false);
    while !rest.trim().is_empty() {
        rest = rest.trim_start();
        if let Some(quoted) = rest.strip_prefix("until=\"") {
            let (text, after) = quoted
                .split_once('"')
                .context("the text of `until=\"` has no end")?;
            until = Some(text.to_owned());
            rest = after;
        } else if let Some(after) = rest.strip_prefix("background") {
            background = true;
            rest = after;
        } else {
            bail!("`{rest}` is neither until=\"TEXT\" nor background");
        }
    }
    Ok(Mark::Suite {
        name: name.to_owned(),
        until,
        background,
    })
}

/// The commands among the lines of a terminal: those behind `$ `, with the lines that a backslash continues.
fn typed(lines: &[&str]) -> String {
    let mut commands = Vec::new();
    let mut continued = false;
    for line in lines {
        let command = line.strip_prefix("$ ").or(continued.then_some(*line));
        continued = command.is_some_and(|command| command.ends_with('\\'));
        commands.extend(command);
    }
    commands.join("\n")
}

#[cfg(test)]
mod tests {
    use super::{Mark, blocks};

    #[test]
    fn blocks_of_other_languages_are_left_alone() {
        assert_eq!(blocks("```yaml\na: 1\n```\n```\nx\n```\n").unwrap(), []);
    }

    #[test]
    fn a_block_without_a_mark_is_named_by_its_line() {
        let error = blocks("text\n\n```sh\nls\n```\n").unwrap_err();
        assert!(format!("{error:#}").starts_with("line 3: "), "{error:#}");
        assert!(blocks("```sh test=none\nls\n```\n").is_err());
        assert!(blocks("```sh test=local forever\nls\n```\n").is_err());
    }

    #[test]
    fn marks_and_commands_are_read() {
        let text = "1. item\n   ```sh test=local until=\"is up\" background\n   berth up\n   ```\n\
                    ```console test=story\n$ kubectl get pods \\\n    --all\nNAME READY\n$ true\n```\n\
                    ````sh test=none needs Docker\n```\n````\n";
        let found = blocks(text).unwrap();
        let suite = |name: &str, until: Option<&str>, background| Mark::Suite {
            name: name.into(),
            until: until.map(Into::into),
            background,
        };
        assert_eq!(found[0].mark, suite("local", Some("is up"), true));
        assert_eq!((found[0].line, found[0].commands.as_str()), (2, "berth up"));
        assert_eq!(found[1].mark, suite("story", None, false));
        assert_eq!(found[1].commands, "kubectl get pods \\\n    --all\ntrue");
        assert_eq!(found[2].mark, Mark::None("needs Docker".into()));
        assert_eq!(found.len(), 3);
    }
}
