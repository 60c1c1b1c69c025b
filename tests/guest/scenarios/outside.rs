//! Others who change the server, and an API that is not there.
