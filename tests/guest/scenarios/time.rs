//! Clocks that step, a guest that is suspended.
