//! One question to Marathon, and the questions that its answer covers.

use std::time::Duration;

use super::config::Config;
use crate::state::app::{AppId, AppVersion};
use crate::state::event::Purpose;

/// One fetch from Marathon.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fetch {
    /// All apps with their tasks, and all pods.
    Everything(Purpose),
    /// The apps below a group.
    Group(AppId),
    /// One app.
    App(AppId),
    /// One pod.
    Pod(AppId),
    /// A past version of an app's definition.
    Definition(AppId, AppVersion),
    /// A past version of a pod's definition.
    PodDefinition(AppId, AppVersion),
}

/// Time limits of one question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FetchLimits {
    /// Wait for the head of the answer, after which the question is asked once more, on a new
    /// connection.
    pub again_after: Duration,
    /// Longest wait for the head of the answer.
    pub head: Duration,
    /// Longest wait for all of the answer.
    pub whole: Duration,
}

impl Fetch {
    /// The value of the metric label `what`.
    pub(super) fn what(&self) -> &'static str {
        match self {
            Self::Everything(_) => "everything",
            Self::Group(_) => "group",
            Self::App(_) => "app",
            Self::Pod(_) => "pod",
            Self::Definition(..) => "definition",
            Self::PodDefinition(..) => "pod_definition",
        }
    }

    /// Purpose of a list of everything that took its place.
    pub(super) fn purpose(&self) -> Purpose {
        match self {
            Self::Everything(purpose) => *purpose,
            Self::Group(_) => Purpose::Announced,
            Self::App(_) | Self::Pod(_) | Self::Definition(..) | Self::PodDefinition(..) => {
                Purpose::Routine
            }
        }
    }

    /// True if the answer to this one says all that the answer to `other` would say.
    pub(super) fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Everything(_),
                Self::Everything(_) | Self::Group(_) | Self::App(_) | Self::Pod(_),
            ) => true,
            (Self::Group(group), Self::Group(id) | Self::App(id)) => {
                id == group || is_below(id, group)
            }
            (Self::App(of), Self::App(id)) | (Self::Pod(of), Self::Pod(id)) => of == id,
            (
                Self::Everything(_)
                | Self::Group(_)
                | Self::App(_)
                | Self::Pod(_)
                | Self::Definition(..)
                | Self::PodDefinition(..),
                _,
            ) => false,
        }
    }

    /// The groups above an app or a group, the nearest first, the group itself included: it may be
    /// an app that was deleted with others below it.
    pub(super) fn groups_above(&self) -> impl Iterator<Item = Self> {
        let id = match self {
            Self::Group(id) | Self::App(id) => id.as_str(),
            Self::Everything(_) | Self::Pod(_) | Self::Definition(..) | Self::PodDefinition(..) => {
                ""
            }
        };
        let of_app = matches!(self, Self::App(_));
        let ends = id.match_indices('/').map(|(at, _)| at);
        let ends = ends.chain(of_app.then_some(id.len()));
        let above: Vec<_> = ends.filter_map(|end| id.get(..end)).collect();
        let above = above.into_iter().rev().filter(|path| !path.is_empty());
        above
            .map(AppId::from)
            .map(Self::Group)
            .collect::<Vec<_>>()
            .into_iter()
    }

    /// Its limits, where the last list of everything `took` so long.
    pub(super) fn limits(&self, config: &Config, took: Duration) -> FetchLimits {
        let again_after = config.head_patience;
        match self {
            // Marathon writes a whole list before its head, and twice at once takes it longer.
            Self::Everything(_) | Self::Group(_) => FetchLimits {
                again_after: again_after.max(took * 2),
                head: config.request_limit,
                whole: config.request_limit,
            },
            Self::App(_) | Self::Pod(_) | Self::Definition(..) | Self::PodDefinition(..) => {
                FetchLimits {
                    again_after,
                    head: (again_after + config.head_limit).min(config.request_limit),
                    whole: config.request_limit,
                }
            }
        }
    }
}

/// True if an id lies below a group.
fn is_below(id: &AppId, group: &AppId) -> bool {
    id.as_str()
        .strip_prefix(group.as_str())
        .is_some_and(|rest| rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use Duration;

    use super::*;

    fn app(id: &str) -> Fetch {
        Fetch::App(AppId::from(id))
    }

    fn group(id: &str) -> Fetch {
        Fetch::Group(AppId::from(id))
    }

    #[test]
    fn a_group_covers_what_lies_below_it_and_nothing_else() {
        for (other, is_covered) in [
            (app("/a/b"), true),
            (group("/a/g"), true),
            (group("/a"), true),
            (app("/ab"), false),
            (group("/"), false),
            (Fetch::Definition(AppId::from("/a/b"), AppVersion(1)), false),
            (Fetch::Everything(Purpose::Routine), false),
        ] {
            assert_eq!(group("/a").covers(&other), is_covered, "{other:?}");
        }
    }

    #[test]
    fn the_groups_above_are_those_that_cover() {
        let above: Vec<_> = app("/a/b/c").groups_above().collect();
        assert_eq!(above, [group("/a/b/c"), group("/a/b"), group("/a")]);
        assert!(above.iter().all(|group| group.covers(&app("/a/b/c"))));
        let above: Vec<_> = group("/a/b").groups_above().collect();
        assert_eq!(above, [group("/a")]);
    }

    #[test]
    fn a_list_is_given_twice_the_time_of_the_last_one_before_it_is_asked_again() {
        let config = Config::new(Vec::new());
        let second = Duration::from_secs(1);
        let list = Fetch::Everything(Purpose::Routine);
        let again_after = |fetch: &Fetch, took| fetch.limits(&config, took).again_after;
        assert_eq!(again_after(&list, second), config.head_patience);
        assert_eq!(again_after(&list, second * 30), second * 60);
        assert_eq!(again_after(&app("/a"), second * 30), config.head_patience);
        let limits = app("/a").limits(&config, second);
        assert_eq!(limits.head, config.head_patience + config.head_limit);
    }
}
