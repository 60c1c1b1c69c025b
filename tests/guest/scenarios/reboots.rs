//! Reboots by the platform, by people, by themselves, and a clone.
