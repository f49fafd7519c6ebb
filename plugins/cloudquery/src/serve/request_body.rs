//! The messages of a call on their way in: a call that was cancelled is not one that has come to its end.
//!
//! The HTTP library ends the body of a cancelled request as if it were complete, and the gRPC library does so with an error
//! that says `cancelled`. A half-written stream would be committed. What really came to its end says so by a flag on the
//! last frame.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http_body::{Frame, SizeHint};
use tonic::codegen::Bytes;
use tonic::codegen::http::Request;
use tonic::{Code, Status, body::Body};

struct RequestBody {
    body: Body,
    is_broken_off: bool,
}

/// Lets a request's body end in an error unless it ended by itself.
pub(super) fn with_cancels(request: Request<Body>) -> Request<Body> {
    request.map(|body| {
        Body::new(RequestBody {
            body,
            is_broken_off: false,
        })
    })
}

fn cancelled() -> Status {
    Status::aborted("the caller broke the call off")
}

impl http_body::Body for RequestBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        if self.is_broken_off {
            return Poll::Ready(None);
        }
        let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            None if !self.body.is_end_stream() => Some(Err(cancelled())),
            Some(Err(status)) if status.code() == Code::Cancelled => Some(Err(cancelled())),
            frame => frame,
        };
        self.is_broken_off = matches!(frame, Some(Err(_)));
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.is_broken_off || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
