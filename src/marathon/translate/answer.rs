//! Answers of Marathon that hold no list, translated to facts (pure): one app, a definition, the
//! leader, a 404.

use std::sync::Arc;

use super::error::TranslateError;
use super::health_checks::health_checks;
use super::item::{UnusableItem, read_app};
use crate::marathon::ids;
use crate::marathon::ports::layout;
use crate::marathon::wire;
use crate::state::app::{AppId, Definition};
use crate::state::event::{Event, UnreadableApp};

/// Characters of an unknown body that an error shows.
const SHOWN_CHARACTERS: usize = 100;

/// Reads the answer to `GET /v2/apps/{id}`.
///
/// # Errors
///
/// When the answer holds no app, or one without an id or without its tasks.
pub fn app(body: &[u8]) -> Result<Event, TranslateError> {
    let answer: wire::OneApp<'_> = serde_json::from_slice(body)?;
    match read_app(answer.app) {
        Ok(app) => Ok(Event::AppChanged(app)),
        Err(UnusableItem {
            why: TranslateError::NoTasks { .. },
            ..
        }) => Err(TranslateError::NoTasks {
            embed: "embed=app.tasks",
        }),
        Err(unusable) if unusable.id.as_str() == UnreadableApp::NAMELESS => {
            Err(TranslateError::Missing("app's id"))
        }
        Err(unusable) => Ok(Event::AppUnreadable(unusable.unreadable(false))),
    }
}

/// Reads the part that tasks are judged by from the answer to `GET /v2/apps/{id}/versions/{version}`.
///
/// # Errors
///
/// When the answer is not a definition, or one whose networking is unknown.
pub fn definition(body: &[u8]) -> Result<Definition, TranslateError> {
    let app: wire::AppWithTasks<'_> = serde_json::from_slice(body)?;
    // Any object reads as an app without ports: only one with an id is a definition.
    app.id.as_ref().ok_or(TranslateError::Missing("app's id"))?;
    Ok(Definition {
        layout: Arc::new(layout(&app)?),
        health_checks: health_checks(&app.health_checks),
    })
}

/// Reads the answer to `GET /v2/leader`: the leader's `host:port`.
///
/// # Errors
///
/// When the answer names no leader.
pub(in crate::marathon) fn leader(body: &[u8]) -> Result<String, TranslateError> {
    let answer: wire::Leader = serde_json::from_slice(body)?;
    Ok(answer.leader)
}

/// Reads the body of a 404, which means that what was `asked` for does not exist only if Marathon
/// itself says so: `{"message":"App '/x' does not exist"}`.
///
/// # Errors
///
/// When it says something else: proxies on the way have 404s of their own.
pub(in crate::marathon) fn check_missing(
    body: &[u8],
    asked: Asked<'_>,
) -> Result<(), TranslateError> {
    // An array would read as the fields of an object.
    let is_object = body.trim_ascii_start().starts_with(b"{");
    let answer: Option<wire::ErrorMessage> =
        serde_json::from_slice(body).ok().filter(|_| is_object);
    let says_so = answer.is_some_and(|answer| {
        let (kind, id) = match asked {
            Asked::App(id) => ("App '", id),
            Asked::Group(id) => ("Group '", id),
            Asked::Pod(id) => ("Pod '", id),
        };
        let named = answer.message.strip_prefix(kind);
        let named = named.and_then(|rest| rest.split_once('\''));
        // The version that was asked for may follow.
        named.is_some_and(|(named, rest)| {
            ids::app_id(named).as_ref() == Some(id) && rest.starts_with(" does not exist")
        })
    });
    if says_so {
        return Ok(());
    }
    let body = String::from_utf8_lossy(body);
    Err(TranslateError::NotMarathons {
        body: body.chars().take(SHOWN_CHARACTERS).collect(),
    })
}

/// The subject of a question that a 404 answers.
#[derive(Clone, Copy, Debug)]
pub(in crate::marathon) enum Asked<'a> {
    /// An app, or a version of it.
    App(&'a AppId),
    /// The apps below a group.
    Group(&'a AppId),
    /// A pod, or a version of it.
    Pod(&'a AppId),
}
