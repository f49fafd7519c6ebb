//! What travels: batches of several streams that cover an interval of source positions, or one control.

use std::fmt;
use std::sync::Arc;

use crate::{Batch, Delta, DestinationId, Order, Partition, StreamId, StreamSchema};

/// How a changeset relates to the source transaction it carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// Whole transactions; its end is a consistent point.
    Whole,
    /// The first piece of one that is too large to travel whole. Moves no position.
    First,
    /// A piece in between. Moves no position.
    Middle,
    /// The last piece: its delta covers all of them.
    Last,
}

impl Part {
    /// Whether a destination may commit after this changeset.
    pub fn ends_consistent(self) -> bool {
        matches!(self, Part::Whole | Part::Last)
    }
}

/// A comparison of a [`Predicate`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Test {
    /// The column equals the value.
    Eq,
    /// The column is smaller.
    Lt,
    /// The column is smaller or equal.
    LtEq,
    /// The column is greater.
    Gt,
    /// The column is greater or equal.
    GtEq,
}

/// Which rows a [`Control::DeleteWhere`] removes: those for which every term holds. A null fails every term.
#[derive(Debug, Clone)]
pub struct Predicate {
    /// Column, comparison, and a one-row array with the value, of the column's type.
    pub terms: Vec<(String, Test, arrow::array::ArrayRef)>,
}

/// What is not a row. Travels alone in its changeset, which may be a part of a transaction where [`Control::may_be_part`].
#[derive(Debug, Clone)]
pub enum Control {
    /// Every row of the stream went.
    Truncate {
        /// The emptied stream.
        stream: StreamId,
    },
    /// The rows that match went.
    DeleteWhere {
        /// The stream.
        stream: StreamId,
        /// Which rows.
        predicate: Predicate,
    },
    /// A read of existing rows begins. The delta puts the stream into `reading`.
    BeginRead {
        /// The shape of the stream when the read begins.
        schema: Arc<StreamSchema>,
        /// The number of the read.
        run: u32,
        /// For whom; `None` for everyone.
        destinations: Option<Vec<DestinationId>>,
        /// Whether the destination empties its table first; otherwise rows that the read does not meet stay, unless
        /// the destination mirrors, and then they go at `EndRead`.
        empty_first: bool,
    },
    /// All pages of a read were sent. The delta puts the stream into `live`.
    EndRead {
        /// The stream.
        stream: StreamId,
        /// The number of the read.
        run: u32,
    },
    /// The stream has this shape from here on, although no row has shown it yet.
    Schema {
        /// The shape.
        schema: Arc<StreamSchema>,
    },
}

impl Control {
    /// The stream it is about.
    pub fn stream(&self) -> &StreamId {
        match self {
            Control::Truncate { stream } | Control::DeleteWhere { stream, .. } | Control::EndRead { stream, .. } => {
                stream
            }
            Control::BeginRead { schema, .. } | Control::Schema { schema } => schema.stream(),
        }
    }

    /// Whether it may stand between the rows of a transaction. A read begins and ends between transactions.
    pub fn may_be_part(&self) -> bool {
        !matches!(self, Control::BeginRead { .. } | Control::EndRead { .. })
    }

    /// The word for logs and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Control::Truncate { .. } => "truncate",
            Control::DeleteWhere { .. } => "delete_where",
            Control::BeginRead { .. } => "begin_read",
            Control::EndRead { .. } => "end_read",
            Control::Schema { .. } => "schema",
        }
    }
}

/// What a changeset carries.
#[derive(Debug, Clone)]
pub enum Body {
    /// Rows; none at all is progress without rows. Rows of one stream keep their order, order across streams is free.
    Rows(Vec<Batch>),
    /// One control.
    Control(Control),
}

/// The transaction that a control is a part of, or the place of one that moves no position. Rows say it themselves, in their
/// commits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The log.
    pub log: Partition,
    /// Where the transaction ends in it.
    pub order: Order,
}

/// An interval `(from, to]` of source positions and what happened in it.
#[derive(Clone)]
pub struct ChangeSet {
    /// How positions move when it is applied. Empty unless `part.ends_consistent()`.
    pub delta: Delta,
    /// Whole, or a piece of a large transaction.
    pub part: Part,
    /// The rows, or a control.
    pub body: Body,
    /// Of a control that is a part of a transaction, the transaction; `None` for everything else.
    pub place: Option<Place>,
    /// Arrow bytes of the body; what credit and the memory budget count.
    pub size_bytes: usize,
    /// Somebody waits for every destination to come by here. Only on progress without rows; it is not repeated when the
    /// changeset is.
    pub marker: Option<Marker>,
}

/// A place in the flow that somebody waits for, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Marker(pub u64);

impl ChangeSet {
    /// A changeset of whole transactions.
    pub fn rows(delta: Delta, batches: Vec<Batch>) -> Self {
        Self::part(Part::Whole, delta, batches)
    }

    /// A piece of a transaction.
    pub fn part(part: Part, delta: Delta, batches: Vec<Batch>) -> Self {
        debug_assert!(
            part.ends_consistent() || delta.is_empty(),
            "only the last part moves positions"
        );
        let size_bytes = batches.iter().map(Batch::size_bytes).sum();
        ChangeSet {
            delta,
            part,
            body: Body::Rows(batches),
            place: None,
            size_bytes,
            marker: None,
        }
    }

    /// A control.
    pub fn control(delta: Delta, control: Control) -> Self {
        ChangeSet {
            delta,
            part: Part::Whole,
            body: Body::Control(control),
            place: None,
            size_bytes: 0,
            marker: None,
        }
    }

    /// Progress without rows, with a marker at its end.
    pub fn marked(delta: Delta, marker: Marker) -> Self {
        ChangeSet {
            marker: Some(marker),
            ..Self::rows(delta, Vec::new())
        }
    }

    /// A control that stands between the rows of a transaction.
    pub fn control_part(part: Part, delta: Delta, control: Control, place: Place) -> Self {
        debug_assert!(
            part.ends_consistent() || delta.is_empty(),
            "only the last part moves positions"
        );
        debug_assert!(
            part != Part::Whole && control.may_be_part(),
            "`{}` is no part of a transaction",
            control.name()
        );
        ChangeSet {
            part,
            place: Some(place),
            ..ChangeSet::control(delta, control)
        }
    }

    /// The same with another control.
    pub fn with_control(&self, control: Control) -> Self {
        ChangeSet {
            body: Body::Control(control),
            ..self.clone()
        }
    }

    /// The same without its rows or its control: what is left moves positions, or keeps the parts of a transaction together.
    pub fn emptied(&self) -> Self {
        Self::part(self.part, self.delta.clone(), Vec::new())
    }

    /// Where a control stands in its log; `None` if nobody said.
    pub fn control_order(&self) -> Option<Order> {
        let moved = || self.delta.moves.iter().find(|m| m.partition.is_log());
        match &self.place {
            Some(place) => Some(place.order),
            None => moved().map(|m| m.to.order),
        }
    }

    /// The batches; none for a control.
    pub fn batches(&self) -> &[Batch] {
        match &self.body {
            Body::Rows(batches) => batches,
            Body::Control(_) => &[],
        }
    }

    /// Number of rows in all batches.
    pub fn row_count(&self) -> usize {
        self.batches().iter().map(Batch::len).sum()
    }

    /// Whether it only moves positions.
    pub fn is_progress(&self) -> bool {
        matches!(&self.body, Body::Rows(batches) if batches.is_empty()) && self.part == Part::Whole
    }
}

impl fmt::Debug for ChangeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChangeSet({:?} {:?} ", self.part, self.delta)?;
        match &self.body {
            Body::Rows(batches) => {
                for batch in batches {
                    write!(f, "{}:{:?} ", batch.schema.stream(), batch.ops)?;
                }
            }
            Body::Control(control) => write!(f, "{} {} ", control.name(), control.stream())?,
        }
        write!(f, "{}B)", self.size_bytes)
    }
}
