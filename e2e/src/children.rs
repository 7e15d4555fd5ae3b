//! Programs that live exactly as long as the value that started them, and never longer than this process.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Sender};
use std::{io, thread};

use anyhow::{Context, Result, bail};

use crate::process;

type Job = Box<dyn FnOnce() + Send>;

/// Started programs with one log each; dropping kills them by id, last first, and waits for their end.
///
/// A program is also killed by the kernel when this process dies (`setpriv --pdeathsig`). That signal is
/// sent when the *thread* dies that started the program, and the thread of a test ends with the test: so
/// one thread of our own starts them all and lives as long as this value.
#[derive(Debug)]
pub(crate) struct Children {
    programs: PathBuf,
    logs: PathBuf,
    started: Vec<Part>,
    starter: Sender<Job>,
}

#[derive(Debug)]
struct Part {
    name: String,
    log: PathBuf,
    child: Child,
}

impl Children {
    /// Programs will be taken from the folder `programs`; `NAME.log` is written into `logs`.
    pub(crate) fn new(programs: PathBuf, logs: PathBuf) -> Self {
        let (starter, jobs) = mpsc::channel::<Job>();
        thread::spawn(move || jobs.into_iter().for_each(|job| job()));
        Self {
            programs,
            logs,
            started: Vec::new(),
            starter,
        }
    }

    /// Starts the program `name`.
    pub(crate) fn start(&mut self, name: &str, arguments: Vec<String>) -> Result<()> {
        let program = self.programs.join(name);
        if !program.is_file() {
            bail!("there is no {name} in {}", self.programs.display());
        }
        let log = self.logs.join(format!("{name}.log"));
        let output = File::create(&log)?;
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(program).args(arguments);
        command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output);
        let child = self
            .spawn(command)
            .with_context(|| format!("{name} (by setpriv of Debian's util-linux)"))?;
        self.started.push(Part {
            name: name.to_owned(),
            log,
            child,
        });
        Ok(())
    }

    /// Fails with the end of its log when one of the programs has ended.
    pub(crate) fn check(&mut self) -> Result<()> {
        for part in &mut self.started {
            if let Some(status) = part.child.try_wait()? {
                bail!("{} ended: {status}; {}", part.name, process::log_tail(&part.log));
            }
        }
        Ok(())
    }

    pub(crate) fn ids(&self) -> Vec<u32> {
        self.started.iter().map(|part| part.child.id()).collect()
    }

    fn spawn(&self, mut command: Command) -> io::Result<Child> {
        let (reply, answer) = mpsc::channel();
        let job: Job = Box::new(move || {
            // Nobody waits for the answer only when this value is being dropped.
            let _ = reply.send(command.spawn());
        });
        let gone = || io::Error::other("the thread that starts programs has ended");
        self.starter.send(job).map_err(|_| gone())?;
        answer.recv().map_err(|_| gone())?
    }
}

impl Drop for Children {
    fn drop(&mut self) {
        for mut part in self.started.drain(..).rev() {
            // An error means that it has ended already.
            let _ = part.child.kill();
            let _ = part.child.wait();
        }
    }
}
