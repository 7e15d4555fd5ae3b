//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser as _;

use crate::process::{Cores, Program};
use crate::report::{Report, Table};
use crate::signaling::{Figure, Plan, Programs, relay};
use crate::{matchmaker, operator, signaling};

/// Command line of `berth-bench`.
#[derive(Debug, clap::Parser)]
#[command(
    name = "berth-bench",
    version,
    about = "Load generator, baselines and figures"
)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Figures of the signaling server, beside those of a bare relay.
    Signaling(Figures),
    /// Figures of the matchmaker.
    Matchmaker(MatchmakerFigures),
    /// Figures of the operator, beside those of a bare client; needs Kubernetes, which is built from source the first time.
    Operator(OperatorFigures),
    /// The bare relay alone: rooms by `?roomId=`, in memory, nothing else.
    Relay {
        /// Where it listens; port 0 takes a free one.
        #[arg(long, default_value = "127.0.0.1:3002")]
        listen: SocketAddr,
    },
    /// The signaling server of this build: `berth-signaling` with its options.
    #[command(hide = true)]
    ServeSignaling {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// The matchmaker of this build: `berth-matchmaker` with its options.
    #[command(hide = true)]
    ServeMatchmaker {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// The operator of this build: `berth-operator` with its options.
    #[command(hide = true)]
    ServeOperator {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

/// What all figures have.
#[derive(Debug, clap::Args)]
struct Common {
    /// Less of everything, to see that it works. Its figures mean little.
    #[arg(long)]
    quick: bool,
    /// Print JSON with all samples instead of Markdown.
    #[arg(long)]
    json: bool,
    /// Let servers and load share all cores.
    #[arg(long)]
    unpinned: bool,
    /// Rounds of each figure; every round measures everything that is compared once.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=100))]
    rounds: Option<u16>,
}

#[derive(Debug, clap::Args)]
struct Figures {
    #[command(flatten)]
    common: Common,
    /// Only these figures.
    #[arg(long, value_enum, value_name = "FIGURE")]
    only: Vec<Figure>,
    /// Measure this `berth-signaling` instead of the one that is built in.
    #[arg(long, value_name = "PATH")]
    signaling: Option<PathBuf>,
    /// Seconds of each measurement.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=120))]
    seconds: Option<u16>,
}

#[derive(Debug, clap::Args)]
struct MatchmakerFigures {
    #[command(flatten)]
    common: Common,
    /// Only these figures.
    #[arg(long, value_enum, value_name = "FIGURE")]
    only: Vec<matchmaker::Figure>,
    /// Measure this `berth-matchmaker` instead of the one that is built in.
    #[arg(long, value_name = "PATH")]
    matchmaker: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct OperatorFigures {
    #[command(flatten)]
    common: Common,
    /// Measure this `berth-operator` instead of the one that is built in.
    #[arg(long, value_name = "PATH")]
    operator: Option<PathBuf>,
    /// Seconds at rest.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=3600))]
    rest: Option<u16>,
}

impl Args {
    /// Runs what was asked for.
    pub fn run(self) -> anyhow::Result<()> {
        match self.command {
            Command::Signaling(arguments) => arguments.run(),
            Command::Matchmaker(arguments) => arguments.run(),
            Command::Operator(arguments) => arguments.run(),
            Command::ServeOperator { arguments } => {
                berth_dataplane::boot::install_crypto_provider();
                let name = "berth-operator".to_owned();
                let arguments =
                    berth_operator::args::Args::parse_from(std::iter::once(name).chain(arguments));
                let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
                runtime.block_on(arguments.run())
            }
            Command::Relay { listen } => relay::run(listen),
            Command::ServeSignaling { arguments } => {
                berth_dataplane::boot::install_crypto_provider();
                let name = "berth-signaling".to_owned();
                Ok(berth_signaling::Args::parse_from(std::iter::once(name).chain(arguments)).run()?)
            }
            Command::ServeMatchmaker { arguments } => {
                berth_dataplane::boot::install_crypto_provider();
                let name = "berth-matchmaker".to_owned();
                Ok(berth_matchmaker::Args::parse_from(std::iter::once(name).chain(arguments)).run()?)
            }
        }
    }
}

impl Common {
    /// Measures and prints. `plan`: how much, in words.
    fn print(
        &self,
        plan: &str,
        measure: impl FnOnce(&Cores) -> anyhow::Result<Vec<Table>>,
    ) -> anyhow::Result<()> {
        let cores = if self.unpinned {
            Cores::shared()
        } else {
            Cores::apart()?
        };
        let mut report = Report::new(&cores, plan);
        report.tables = measure(&cores)?;
        println!(
            "{}",
            if self.json {
                report.json()?
            } else {
                report.markdown()
            }
        );
        Ok(())
    }
}

impl Figures {
    fn run(self) -> anyhow::Result<()> {
        let mut plan = if self.common.quick {
            Plan::quick()
        } else {
            Plan::full()
        };
        plan.figures = self.only;
        if let Some(rounds) = self.common.rounds {
            plan.rounds = usize::from(rounds);
        }
        if let Some(seconds) = self.seconds {
            plan.duration = std::time::Duration::from_secs(u64::from(seconds));
        }
        let mut programs = Programs::of(&std::env::current_exe()?);
        if let Some(path) = self.signaling {
            programs.signaling = Program::new(path);
        }
        let measure = |cores: &Cores| signaling::run(&plan, &programs, cores);
        self.common.print(&plan.describe(), measure)
    }
}

impl MatchmakerFigures {
    fn run(self) -> anyhow::Result<()> {
        let mut plan = if self.common.quick {
            matchmaker::Plan::quick()
        } else {
            matchmaker::Plan::full()
        };
        plan.figures = self.only;
        if let Some(rounds) = self.common.rounds {
            plan.rounds = usize::from(rounds);
        }
        let program = match self.matchmaker {
            Some(path) => Program::new(path),
            None => matchmaker::served_by(&std::env::current_exe()?),
        };
        let measure = |cores: &Cores| matchmaker::run(&plan, &program, cores);
        self.common.print(&plan.describe(), measure)
    }
}

impl OperatorFigures {
    fn run(self) -> anyhow::Result<()> {
        berth_dataplane::boot::install_crypto_provider();
        let mut plan = if self.common.quick {
            operator::Plan::quick()
        } else {
            operator::Plan::full()
        };
        if let Some(rounds) = self.common.rounds {
            plan.rounds = usize::from(rounds);
        }
        if let Some(seconds) = self.rest {
            plan.rest = std::time::Duration::from_secs(u64::from(seconds));
        }
        let program = match self.operator {
            Some(path) => Program::new(path),
            None => operator::served_by(&std::env::current_exe()?),
        };
        // etcd, the API server and whoever is measured share all cores, as on a node.
        let common = Common {
            unpinned: true,
            ..self.common
        };
        common.print(&plan.describe(), |_| operator::run(&plan, &program))
    }
}
