//! Everything that can go wrong in a simulated life, by name.

macro_rules! kinds {
    ($($kind:ident: $text:literal,)*) => {
        /// A kind of fault.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind { $($kind),* }

        impl Kind {
            /// All of them, in the order of the table.
            pub const ALL: &[Kind] = &[$(Kind::$kind),*];

            /// What a person calls it.
            pub fn text(self) -> &'static str {
                match self { $(Kind::$kind => $text),* }
            }
        }
    };
}

kinds! {
    LostBefore: "answer lost, call not carried out",
    LostAfter: "answer lost, call carried out",
    Slow: "answer takes seconds",
    NoConnection: "no connection",
    Busy503: "503 with Retry-After",
    TooMany429: "429 with Retry-After",
    GatewayLies: "503 to an edit that is carried out",
    KeyWithdrawn401: "401, key withdrawn and given back",
    Forbidden403: "403 to edits",
    ManagedServer405: "405 to edits",
    NotFound404: "404 to every call",
    AccountType419: "419 to every call",
    ValueRefused400: "400 to edits, value refused",
    ApplyFailed608: "608, applying failed",
    NoRoom617: "617, no room on the hypervisor",
    AccountLimit618: "618, limit of the account",
    HypervisorDown619: "619, hypervisor unreachable",
    Malformed: "malformed answer",
    WrongCounts: "wrong list of allowed counts",
    NoCounts: "list of allowed counts refused",
    OtherCounts: "platform allows other counts from now on",
    StaleDetails: "details seconds old",
    LockedByOthers: "server locked by somebody else for minutes",
    LockedForHours: "server locked by somebody else for hours",
    EditSaysLocked: "unlocked in details, locked to edits",
    AddressGone: "this machine's address not in the server's list",
    SlowPlatform: "lock of an edit held for minutes",
    AcceptedNotDone: "edit accepted, count stays",
    GuestLate: "guest follows late",
    GuestOffline: "new cores stay offline",
    GuestIgnores: "guest does not follow",
    GuestKeeps: "guest gives no core back",
    OnlyAtReboot: "guest follows at its next reboot",
    EditReboots: "platform reboots the VM for an edit",
    PanelChange: "count changed in the panel",
    PanelOutside: "count set outside the limits in the panel",
    Terraform: "Terraform sets the count back every few hours",
    PlatformReboot: "platform resets the VM",
    UnattendedReboot: "unattended reboot",
    RebootInEdit: "VM reset in the middle of an edit",
    KillAnywhere: "killed at any instant",
    KillAtPort: "killed at any call of a port",
    KillInEdit: "killed at any point of an edit",
    KillInSave: "killed while the state file is written",
    KillInLedger: "killed in the middle of a ledger line",
    KillBetween: "killed between ledger line and state file",
    StopStart: "stopped and started",
    DryRun: "run with --dry-run for a while",
    DiskFull: "state directory cannot be written",
    DiskNowhere: "state and run-time directory cannot be written",
    StateTorn: "state file cut off",
    StateGarbage: "state file of garbage",
    StateGone: "state file deleted",
    StateForeign: "state file of another machine",
    Clone: "cloned VM with the old state and server id",
    WallForward: "wall clock set forward, up to 1 h",
    WallBack: "wall clock set back, up to 1 h",
    Suspend: "VM suspended for hours",
    DstDay: "change to or from summer time",
    NoSamples: "load cannot be read",
    NoGuest: "neither load nor CPUs can be read",
    Steal: "hypervisor steals up to half",
    Burst: "burst of load",
    Flood: "load beyond limits.max_cores",
    ReloadOther: "reload with another policy",
    ReloadBad: "reload with a bad policy",
    ReloadExcludes: "reload with limits that exclude the count",
    Pause: "paused and resumed by the operator",
    PauseFor: "paused for a time",
    Forget: "operator forgets what was learned",
    Prove: "operator tries lowering",
    Confirm: "operator vouches for the machine",
}

impl Kind {
    /// Whether it hits where it begins; the others hit calls, saves, edits or readings later.
    pub fn hits_at_once(self) -> bool {
        matches!(
            self,
            Kind::OtherCounts
                | Kind::LockedByOthers
                | Kind::LockedForHours
                | Kind::PanelChange
                | Kind::PanelOutside
                | Kind::PlatformReboot
                | Kind::UnattendedReboot
                | Kind::KillAnywhere
                | Kind::KillAtPort
                | Kind::StopStart
                | Kind::DryRun
                | Kind::Clone
                | Kind::WallForward
                | Kind::WallBack
                | Kind::Suspend
                | Kind::Burst
                | Kind::Flood
                | Kind::ReloadOther
                | Kind::ReloadBad
                | Kind::ReloadExcludes
                | Kind::Pause
                | Kind::PauseFor
                | Kind::Forget
                | Kind::Prove
                | Kind::Confirm
        )
    }
}
