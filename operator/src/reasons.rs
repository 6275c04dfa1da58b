//! The fixed words of conditions and events: each is explained in `docs/conditions.md`, with what to do.
//!
//! What the resolver finds has its own words (`millrace_crds::problem::Reason`), and what workers report has others
//! (`StateLost`, `SecretKeyMissing`); those are passed on as they are.

/// Nothing is wrong, and what is to run is set up.
pub const VALID: &str = "Valid";
/// The Flow waits for its next tick.
pub const SCHEDULED: &str = "Scheduled";
/// A run, or the workers of a Continuous Flow, are at work.
pub const RUNNING: &str = "Running";
/// A person has suspended it.
pub const SUSPENDED: &str = "Suspended";
/// It has not been looked at before.
pub const NEW: &str = "New";
/// A Source is being asked for its streams.
pub const DISCOVERING: &str = "Discovering";
/// A Source could not be asked for its streams.
pub const DISCOVERY_FAILED: &str = "DiscoveryFailed";
/// A Source told its streams.
pub const DISCOVERED: &str = "Discovered";
/// A changed plan is being tried before it is rolled out.
pub const PREFLIGHT: &str = "Preflight";
/// A changed plan was tried and does not work; the workers go on by the old one.
pub const PREFLIGHT_FAILED: &str = "PreflightFailed";
/// Workers are being replaced.
pub const ROLLING_OUT: &str = "RollingOut";
/// A worker is not ready.
pub const NOT_READY: &str = "WorkerNotReady";
/// The API server does not take an object that is needed.
pub const REFUSED: &str = "Refused";
/// An object of a name that is needed belongs to somebody else.
pub const NAME_TAKEN: &str = "NameTaken";
/// The plan does not fit into a `ConfigMap`.
pub const PLAN_TOO_LARGE: &str = "PlanTooLarge";
/// The state is gone.
pub const STATE_LOST: &str = "StateLost";
/// The ledger, a report or a plan cannot be read.
pub const UNREADABLE: &str = "ChannelUnreadable";
/// A run began.
pub const RUN_STARTED: &str = "RunStarted";
/// A run ended well.
pub const RUN_SUCCEEDED: &str = "RunSucceeded";
/// A run failed.
pub const RUN_FAILED: &str = "RunFailed";
/// A run was stopped, since the next one took its place.
pub const RUN_STOPPED: &str = "RunStopped";
/// A trigger could not be understood, or names nothing that there is.
pub const TRIGGER_FAILED: &str = "TriggerFailed";
/// A run of a Job waits for its turn.
pub const WAITING: &str = "Waiting";
/// Several pods cannot share the runs of this Flow.
pub const PARALLELISM: &str = "ParallelismNotSupported";
/// The state of a deleted Flow is being deleted, as `deletionPolicy: Delete` asks.
pub const DELETING_STATE: &str = "DeletingState";
/// The state of a deleted Flow could not be deleted, since its namespace goes with it.
pub const STATE_LEFT: &str = "StateLeft";
/// The object cannot be read by this operator.
pub const UNPARSABLE: &str = "Unparsable";
/// A worker that a newer one took over from was deleted.
pub const WORKER_REPLACED: &str = "WorkerReplaced";

/// All of them.
pub const ALL: &[&str] = &[
    VALID,
    SCHEDULED,
    RUNNING,
    SUSPENDED,
    NEW,
    DISCOVERING,
    DISCOVERY_FAILED,
    DISCOVERED,
    PREFLIGHT,
    PREFLIGHT_FAILED,
    ROLLING_OUT,
    NOT_READY,
    REFUSED,
    NAME_TAKEN,
    PLAN_TOO_LARGE,
    STATE_LOST,
    UNREADABLE,
    RUN_STARTED,
    RUN_SUCCEEDED,
    RUN_FAILED,
    RUN_STOPPED,
    TRIGGER_FAILED,
    WAITING,
    PARALLELISM,
    DELETING_STATE,
    STATE_LEFT,
    UNPARSABLE,
    WORKER_REPLACED,
];
