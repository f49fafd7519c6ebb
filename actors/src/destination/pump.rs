//! The task that moves changesets from a cursor into the destination's mailbox, against credit.

use std::sync::Arc;

use model::Checkpoint;
use ractor::ActorRef;
use spool::{Cursor, Next};
use tokio::sync::{mpsc, oneshot};

use super::{CursorEnd, DestinationMsg, LaneInput};
use crate::credit::Edge;

/// A running pump. Dropping it frees the cursor's lane in the spool.
pub(super) struct Pump {
    commands: mpsc::UnboundedSender<Command>,
    work: tokio::task::JoinHandle<()>,
}

enum Command {
    /// Go back to what `to` covers, and deliver under a new epoch; or stay there until told again.
    Rewind {
        to: Checkpoint,
        epoch: u64,
        is_paused: bool,
        answer: oneshot::Sender<bool>,
    },
}

impl Pump {
    /// A paused pump delivers nothing until its cursor was rewound.
    pub(super) fn start(
        cursor: Box<dyn Cursor>,
        epoch: u64,
        is_paused: bool,
        edge: Arc<Edge>,
        mailbox: ActorRef<DestinationMsg>,
    ) -> Self {
        let (commands, receiver) = mpsc::unbounded_channel();
        let run = Run {
            cursor,
            epoch,
            is_paused,
            edge,
            mailbox,
            commands: receiver,
        };
        Pump {
            commands,
            work: tokio::spawn(run.run()),
        }
    }

    /// Moves the cursor back. `false`: out of reach; this pump is of no more use.
    pub(super) async fn rewind(&self, to: &Checkpoint, epoch: u64, is_paused: bool) -> bool {
        let (answer, answered) = oneshot::channel();
        let command = Command::Rewind {
            to: to.clone(),
            epoch,
            is_paused,
            answer,
        };
        self.commands.send(command).is_ok() && answered.await.unwrap_or(false)
    }

    /// Ends the pump and waits until its cursor is free. A panic in it surfaces here.
    pub(super) async fn stop(mut self) {
        self.work.abort();
        if let Err(error) = (&mut self.work).await
            && error.is_panic()
        {
            std::panic::resume_unwind(error.into_panic());
        }
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        self.work.abort();
    }
}

struct Run {
    cursor: Box<dyn Cursor>,
    epoch: u64,
    is_paused: bool,
    edge: Arc<Edge>,
    mailbox: ActorRef<DestinationMsg>,
    commands: mpsc::UnboundedReceiver<Command>,
}

impl Run {
    async fn run(mut self) {
        loop {
            let step = tokio::select! {
                biased;
                command = self.commands.recv() => match command {
                    Some(command) => { self.obey(command); continue }
                    None => return,
                },
                step = self.cursor.next(), if !self.is_paused => step,
            };
            let input = match step {
                Ok(Next::Delivery(delivery)) => {
                    let credit = tokio::select! {
                        biased;
                        command = self.commands.recv() => match command {
                            // The delivery is dropped: the cursor stands before it again.
                            Some(command) => { self.obey(command); continue }
                            None => return,
                        },
                        credit = self.edge.take(delivery.changeset.size_bytes) => credit,
                    };
                    LaneInput::Delivery {
                        epoch: self.epoch,
                        delivery,
                        credit,
                    }
                }
                Ok(Next::Closed | Next::Stopped) => LaneInput::CursorEnded {
                    epoch: self.epoch,
                    why: CursorEnd::Closed,
                },
                Ok(Next::LetGo) | Err(_) => LaneInput::CursorEnded {
                    epoch: self.epoch,
                    why: CursorEnd::LetGo,
                },
            };
            let is_end = matches!(input, LaneInput::CursorEnded { .. });
            if self.mailbox.cast(DestinationMsg::Lane(input)).is_err() {
                return;
            }
            // What is in the spool stays in reach of a rewind, also behind the end.
            self.is_paused = is_end;
        }
    }

    fn obey(&mut self, command: Command) {
        let Command::Rewind {
            to,
            epoch,
            is_paused,
            answer,
        } = command;
        let is_there = self.cursor.rewind(&to);
        self.epoch = epoch;
        self.is_paused = is_paused || !is_there;
        // A lane that did not wait for the answer has ended.
        let _ = answer.send(is_there);
    }
}
