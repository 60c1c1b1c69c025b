//! The daemon killed, frozen, upgraded, started twice; what it lives with.
