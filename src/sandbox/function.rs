//! The functions that the emulator serves.

use std::fmt;

/// A function of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Function {
    /// `server/details`
    Details,
    /// `server/edit`
    Edit,
    /// `server/list`
    List,
    /// `server/allowedarguments`
    AllowedArguments,
}

impl Function {
    /// Every function.
    pub const ALL: [Self; 4] = [
        Self::Details,
        Self::Edit,
        Self::List,
        Self::AllowedArguments,
    ];

    /// Module and function as in the path of a request, without a slash at either end.
    #[must_use]
    pub fn path(self) -> &'static str {
        match self {
            Self::Details => "server/details",
            Self::Edit => "server/edit",
            Self::List => "server/list",
            Self::AllowedArguments => "server/allowedarguments",
        }
    }

    /// The function at `path`.
    #[must_use]
    pub fn at(path: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|f| f.path() == path)
    }

    /// Whether GET does as well as POST \[doc 2\].
    pub(super) fn takes_get(self) -> bool {
        self != Self::Edit
    }

    /// The names of the arguments that it knows.
    pub(super) fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Details => &["serverid", "includestate"],
            Self::Edit => &[
                "serverid",
                "cpucores",
                "memorysize",
                "disksize",
                "bandwidth",
                "hostname",
                "description",
            ],
            Self::List => &[],
            Self::AllowedArguments => &["serverid"],
        }
    }
}

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.path())
    }
}
