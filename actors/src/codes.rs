use model::Code;

/// The codes of this crate.
pub const CODES: &[Code] = &[
    Code {
        id: "E0701",
        title: "a changeset does not join the checkpoint",
        explain: "A destination was offered changes that do not follow what it holds. Nothing was written. This is a defect of \
                  Highwater or of the source connector: please report it with the log. A restart resumes from the last checkpoint.",
    },
    Code {
        id: "E0702",
        title: "no memory for a destination's buffer",
        explain: "The destination declares a buffer that the memory budget cannot give now. Raise `runtime.memory.limit`, or lower \
                  `runtime.spool.window_max`.",
    },
    Code {
        id: "E0703",
        title: "a destination went back",
        explain: "The destination holds less than it held before: it was restored from a backup, emptied or replaced. The changes in \
                  between were acknowledged to the source and may be gone there. Run `highwater resync PIPELINE --destination \
                  NAME` to read everything again for it; other destinations run on.",
    },
    Code {
        id: "E0704",
        title: "the meaning of a destination's rows changed",
        explain: "The transformers in front of the destination were changed after it was filled, so old and new rows would mean \
                  different things. Run `highwater resync PIPELINE --destination NAME` to read everything again through the new \
                  transformers, or undo the change.",
    },
    Code {
        id: "E0705",
        title: "too many restarts",
        explain: "A component panicked or was stuck more often than the restart budget allows. The pipeline stopped; others run on. \
                  The log has each cause. After the cause is removed, start again: everything resumes from its checkpoint.",
    },
    Code {
        id: "E0706",
        title: "a component panicked",
        explain: "A connector or transformer ended in a panic, which is a defect. It is restarted within the restart budget. Please \
                  report it with the log.",
    },
    Code {
        id: "E0707",
        title: "a component is stuck",
        explain: "A call into a connector did not return within the limit. It is abandoned and the component restarted.",
    },
    Code {
        id: "E0708",
        title: "unknown stream or destination",
        explain: "A resync or a verification named a stream or destination that the running pipeline does not have. `highwater status` lists them.",
    },
    Code {
        id: "E0709",
        title: "the runtime cannot start",
        explain: "The supervision tree could not be started; the cause follows in the message.",
    },
    Code {
        id: "E0710",
        title: "the pipeline has stopped",
        explain: "The request needs a running pipeline. `highwater status` shows why it stopped.",
    },
    Code {
        id: "E0711",
        title: "a pipeline's supervisor failed",
        explain: "The supervisor of a pipeline ended with an error, mostly because the state directory could not be read. Other \
                  pipelines run on. Start again after the cause is removed.",
    },
    Code {
        id: "E0712",
        title: "no scratch directory",
        explain: "A source needs a directory for temporary files, below the state directory. It must be writable and have room; \
                  nothing in it is state, and it is emptied at every start.",
    },
    Code {
        id: "E0713",
        title: "a verification could not be made",
        explain: "`verify` needs an open source and destinations that come by one position together. The message says what was in the \
                  way: a destination that is down or too far behind, a source that was opened again meanwhile, or memory that is not \
                  free. Nothing was changed; `highwater status` shows how everything stands. Run it again then.",
    },
    Code {
        id: "E0714",
        title: "nothing can be compared",
        explain: "None of the destinations in question can be compared: they cannot read back what they wrote (files, a console). \
                  Name others with `--destination`.",
    },
];
