//! How a request ended, and whether that counts as bad.

/// What is known of a finished request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// HTTP status that was sent to the client; none: the request ended before a response began.
    pub status: Option<u16>,
    /// Whether the response came to its end; false: it was cut short, or never began.
    pub ended: bool,
    /// Status of a gRPC call; none: not gRPC, or the call ended without one.
    pub grpc_status: Option<u32>,
    /// Whether the client went away first.
    pub client_hung_up: bool,
}

/// Values of the metric label `serin_class`, in the order of [`class_index`]. A gRPC call that came to a status has the
/// class of that, because its HTTP status is 200 whatever happened.
pub const CLASSES: [&str; 9] = [
    "none",
    "1xx",
    "2xx",
    "3xx",
    "4xx",
    "5xx",
    "grpc_ok",
    "grpc_client_error",
    "grpc_server_error",
];

/// gRPC status of a call that went well.
const GRPC_OK: u32 = 0;

/// gRPC status that a client must assume when the server sent none (gRPC over HTTP/2, "Responses").
pub const GRPC_UNKNOWN: u32 = 2;
const GRPC_DEADLINE_EXCEEDED: u32 = 4;
const GRPC_UNIMPLEMENTED: u32 = 12;
const GRPC_INTERNAL: u32 = 13;
const GRPC_UNAVAILABLE: u32 = 14;
const GRPC_DATA_LOSS: u32 = 15;

/// After this status the connection is a tunnel, which has no end of a response (RFC 9110, section 15.2.2).
const SWITCHING_PROTOCOLS: u16 = 101;

/// Whether a request counts as bad: the one definition for metrics, judge, guards and fuse.
///
/// Bad is what the service did wrong: a 5xx, no response or half of one although the client waited, or a gRPC status
/// that blames the server. A client that hung up before the end says nothing about the service, so that does not count.
/// A tunnel, such as a WebSocket, is good once it stands: how the peers part is their own affair.
pub fn is_bad(outcome: &Outcome) -> bool {
    let http = match outcome.status {
        Some(500..600) => true,
        Some(SWITCHING_PROTOCOLS) => false,
        Some(_) | None => !outcome.ended && !outcome.client_hung_up,
    };
    http || outcome.grpc_status.is_some_and(blames_server)
}

fn blames_server(grpc_status: u32) -> bool {
    matches!(
        grpc_status,
        GRPC_UNKNOWN
            | GRPC_DEADLINE_EXCEEDED
            | GRPC_UNIMPLEMENTED
            | GRPC_INTERNAL
            | GRPC_UNAVAILABLE
            | GRPC_DATA_LOSS
    )
}

/// The response class, the value of the metric label `serin_class`, one of [`CLASSES`]; `none` without a response.
pub fn class(outcome: &Outcome) -> &'static str {
    CLASSES.get(class_index(outcome)).copied().unwrap_or("none")
}

/// Position of the response class in [`CLASSES`].
pub fn class_index(outcome: &Outcome) -> usize {
    match (outcome.status, outcome.grpc_status) {
        (Some(200), Some(GRPC_OK)) => 6,
        (Some(200), Some(status)) if !blames_server(status) => 7,
        (Some(200), Some(_)) => 8,
        (Some(status @ 100..=599), _) => usize::from(status / 100),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::{CLASSES, Outcome, class, class_index, is_bad};

    /// A whole response.
    fn whole(status: u16) -> Outcome {
        Outcome {
            status: Some(status),
            ended: true,
            ..Outcome::default()
        }
    }

    #[track_caller]
    fn check(outcome: Outcome, bad: bool) {
        assert_eq!(is_bad(&outcome), bad, "{outcome:?}");
    }

    #[test]
    fn http_errors_of_the_server_are_bad_and_those_of_the_client_are_not() {
        for good in [100, 101, 200, 204, 301, 304, 400, 404, 429, 499, 600] {
            check(whole(good), false);
        }
        for bad in [500, 502, 503, 504, 599] {
            check(whole(bad), true);
        }
    }

    #[test]
    fn a_missing_or_half_response_is_bad_unless_the_client_hung_up() {
        // Status, whether the response ended, whether the client hung up, whether that is bad.
        let table = [
            (None, false, false, true),
            (None, false, true, false),
            (Some(200), false, false, true),
            (Some(200), false, true, false),
            (Some(200), true, false, false),
            (Some(200), true, true, false),
            (Some(404), false, false, true),
            (Some(404), false, true, false),
            (Some(404), true, true, false),
            (Some(503), false, false, true),
            (Some(503), false, true, true),
            (Some(503), true, true, true),
        ];
        for (status, ended, client_hung_up, bad) in table {
            let outcome = Outcome {
                status,
                ended,
                grpc_status: None,
                client_hung_up,
            };
            check(outcome, bad);
        }
    }

    #[test]
    fn a_tunnel_has_no_end_to_wait_for() {
        for client_hung_up in [false, true] {
            let outcome = Outcome {
                ended: false,
                client_hung_up,
                ..whole(101)
            };
            check(outcome, false);
        }
    }

    #[test]
    fn grpc_codes_that_blame_the_server_are_bad_whoever_hung_up() {
        let bad = [2, 4, 12, 13, 14, 15];
        for code in 0..=17 {
            for client_hung_up in [false, true] {
                let outcome = Outcome {
                    grpc_status: Some(code),
                    client_hung_up,
                    ..whole(200)
                };
                check(outcome, bad.contains(&code));
            }
        }
    }

    #[test]
    fn a_half_response_keeps_the_class_of_its_status() {
        let half = Outcome {
            ended: false,
            ..whole(206)
        };
        assert_eq!(class(&half), "2xx");
    }

    #[test]
    fn class_is_the_first_digit_of_the_status() {
        let of = |status| {
            class(&Outcome {
                status,
                ..Outcome::default()
            })
        };
        assert_eq!(of(Some(100)), "1xx");
        assert_eq!(of(Some(204)), "2xx");
        assert_eq!(of(Some(399)), "3xx");
        assert_eq!(of(Some(404)), "4xx");
        assert_eq!(of(Some(503)), "5xx");
        assert_eq!(of(Some(0)), "none");
        assert_eq!(of(Some(600)), "none");
        assert_eq!(of(None), "none");
    }

    #[test]
    fn a_grpc_call_has_the_class_of_its_status_unless_http_failed() {
        let of = |status, grpc_status| {
            class(&Outcome {
                status: Some(status),
                grpc_status: Some(grpc_status),
                ..Outcome::default()
            })
        };
        assert_eq!(of(200, 0), "grpc_ok");
        assert_eq!(of(200, 5), "grpc_client_error");
        assert_eq!(of(200, 14), "grpc_server_error");
        assert_eq!(of(503, 14), "5xx");
    }

    #[test]
    fn every_class_index_names_a_class() {
        for status in 0..=u16::MAX {
            assert!(
                class_index(&Outcome {
                    status: Some(status),
                    ..Outcome::default()
                }) < CLASSES.len()
            );
        }
    }
}
