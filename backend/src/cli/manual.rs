//! `docs/cli.md`: the help of every command, as clap has it. Nothing about a command is written here.

use std::fmt::Write;

use clap::Command;

/// Columns of the text.
const WIDTH: usize = 110;

/// The help of a command and of all below it.
pub(super) fn of(command: Command) -> String {
    let mut command = command.term_width(WIDTH).disable_help_subcommand(true);
    command.build();
    let mut text = String::from(
        "# The command line\n\n\
         Made from the commands themselves by `cargo run -p snaphook -- manual > docs/cli.md`; a test keeps it up to date.\n",
    );
    section(&mut text, &mut command, "");
    text
}

fn section(text: &mut String, command: &mut Command, parent: &str) {
    let name = format!("{parent} {}", command.get_name()).trim_start().to_owned();
    let help = command.render_long_help().to_string();
    let help: Vec<&str> = help.lines().map(str::trim_end).collect();
    let _ = write!(text, "\n## {name}\n\n```text\n{}\n```\n", help.join("\n").trim_end());
    for below in command.get_subcommands_mut().filter(|below| !below.is_hide_set()) {
        section(text, below, &name);
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn the_manual_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/cli.md");
        let kept = std::fs::read_to_string(path).unwrap_or_default();
        assert!(kept == of(Cli::command()), "run: cargo run -p snaphook -- manual > docs/cli.md");
    }

    /// Commands whose output is no document, each with what it is.
    const WITHOUT_JSON: [(&str, &str); 4] = [
        ("serve", "a log, whose form is a setting"),
        ("mcp", "a protocol of its own"),
        ("manual", "a text to be read"),
        ("completions", "a script"),
    ];

    #[test]
    fn every_command_speaks_to_programs_too() {
        fn look(command: &Command, without: &mut Vec<String>) {
            if !command.has_subcommands() && command.get_arguments().all(|argument| argument.get_long() != Some("json"))
            {
                without.push(command.get_name().to_owned());
            }
            command.get_subcommands().for_each(|below| look(below, without));
        }
        let mut without = Vec::new();
        look(&Cli::command(), &mut without);
        without.sort();
        let mut named = WITHOUT_JSON.map(|(name, _)| name);
        named.sort();
        assert_eq!(without, named);
    }

    #[test]
    fn every_command_shows_how_it_is_used() {
        fn look(command: &Command, parent: &str) {
            let name = format!("{parent} {}", command.get_name());
            if !command.has_subcommands() {
                let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(help.contains("Example"), "{name} has no example");
            }
            command.get_subcommands().for_each(|below| look(below, &name));
        }
        look(&Cli::command(), "");
    }
}
