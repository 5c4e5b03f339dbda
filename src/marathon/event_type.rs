//! The event types that the stream subscribes to, by Marathon's names.

/// Declares the kinds of frames once, for asking, counting and reading.
macro_rules! kinds {
    ($($kind:ident = $name:literal),* $(,)?) => {
        /// The kinds of frames that change what is known, or confirm the stream.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum EventType {
            $($kind,)*
        }

        impl EventType {
            /// All of them.
            pub(super) const ALL: &[Self] = &[$(Self::$kind,)*];

            /// The kind of that name.
            pub(super) fn named(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$kind),)*
                    _ => None,
                }
            }

            /// Marathon's name for it.
            pub(super) fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)*
                }
            }
        }
    };
}

kinds! {
    Attached = "event_stream_attached",
    StatusUpdate = "status_update_event",
    InstanceChanged = "instance_changed_event",
    InstanceHealthChanged = "instance_health_changed_event",
    HealthStatusChanged = "health_status_changed_event",
    UnknownInstanceTerminated = "unknown_instance_terminated_event",
    AppTerminated = "app_terminated_event",
    ApiPost = "api_post_event",
    PodCreated = "pod_created_event",
    PodUpdated = "pod_updated_event",
    PodDeleted = "pod_deleted_event",
    GroupChangeSuccess = "group_change_success",
    DeploymentInfo = "deployment_info",
    DeploymentSuccess = "deployment_success",
    DeploymentFailed = "deployment_failed",
    SchedulerRegistered = "scheduler_registered_event",
    SchedulerReregistered = "scheduler_reregistered_event",
    SchedulerDisconnected = "scheduler_disconnected_event",
}
