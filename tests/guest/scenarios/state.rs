//! The disk full, the state torn.
