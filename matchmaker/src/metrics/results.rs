//! What came of a call, as the label `result` says it. What only the caller can have done wrong is never `error`, so that an alert on
//! that says something about this side.

use crate::api::Refusal;

/// Results of finds.
pub(super) const OF_FINDS: [&str; 12] = [
    "granted",
    "no_hosts",
    "none_matching",
    "draining",
    "not_now",
    "rate_limited",
    "invalid",
    "conflict",
    "over",
    "unavailable",
    "no_ice_servers",
    "error",
];
/// Results of heartbeats.
pub(super) const OF_HEARTBEATS: [&str; 6] = [
    "accepted",
    "unauthorized",
    "forbidden",
    "invalid",
    "conflict",
    "error",
];
/// Results of resumes.
pub(super) const OF_RESUMES: [&str; 9] = [
    "granted",
    "over",
    "unknown",
    "forbidden",
    "rate_limited",
    "invalid",
    "unavailable",
    "no_ice_servers",
    "error",
];

/// What came of a find.
pub(super) fn of_find(refusal: Option<&Refusal>) -> &'static str {
    match refusal {
        None => "granted",
        Some(Refusal::NoHosts) => "no_hosts",
        Some(Refusal::NoneMatching) => "none_matching",
        Some(Refusal::Draining) => "draining",
        Some(Refusal::NotNow) => "not_now",
        Some(Refusal::OtherRequest) => "conflict",
        Some(refusal) => of_match(refusal),
    }
}

/// What came of a resume.
pub(super) fn of_resume(refusal: Option<&Refusal>) -> &'static str {
    match refusal {
        None => "granted",
        Some(Refusal::UnknownMatch) => "unknown",
        Some(Refusal::WrongResumeToken) => "forbidden",
        Some(refusal) => of_match(refusal),
    }
}

/// What came of a heartbeat.
pub(super) fn of_heartbeat(refusal: Option<&Refusal>) -> &'static str {
    match refusal {
        None => "accepted",
        Some(Refusal::Unauthorized) => "unauthorized",
        Some(Refusal::Forbidden) => "forbidden",
        Some(Refusal::Conflict(_)) => "conflict",
        Some(refusal) if is_invalid(refusal) => "invalid",
        Some(_) => "error",
    }
}

/// Why somebody who asked for a match gets none.
fn of_match(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::Over(_) => "over",
        Refusal::TooManyFinds { .. } => "rate_limited",
        Refusal::Unavailable => "unavailable",
        Refusal::NoIceServers => "no_ice_servers",
        refusal if is_invalid(refusal) => "invalid",
        _ => "error",
    }
}

/// The body is not as it should be.
fn is_invalid(refusal: &Refusal) -> bool {
    matches!(
        refusal,
        Refusal::Invalid(_) | Refusal::TooLarge { .. } | Refusal::TooSlow | Refusal::Unreadable
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn nothing_that_a_caller_does_wrong_is_an_error() {
        let wait = Duration::from_secs(1);
        let by_callers = [
            Refusal::Invalid(Vec::new()),
            Refusal::OtherRequest,
            Refusal::Over("released"),
            Refusal::TooManyFinds { wait },
            Refusal::TooSlow,
            Refusal::TooLarge { limit: 1 },
            Refusal::Unreadable,
        ];
        for refusal in &by_callers {
            let result = of_find(Some(refusal));
            assert!(result != "error" && OF_FINDS.contains(&result), "{refusal:?}");
        }
        for refusal in by_callers
            .iter()
            .filter(|refusal| **refusal != Refusal::OtherRequest)
        {
            let result = of_resume(Some(refusal));
            assert!(result != "error" && OF_RESUMES.contains(&result), "{refusal:?}");
        }
        assert_eq!(of_find(Some(&Refusal::Internal)), "error");
        assert_eq!(of_resume(Some(&Refusal::Internal)), "error");
    }
}
