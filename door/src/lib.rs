//! How many clients a server on this machine takes, and which of them goes when one more comes.
//!
//! Every user of the machine can connect to a loopback address and stay silent. So a connection costs a *place*, of which
//! there is a fixed number ([`Places`]), and one that is idle lends its place only until somebody else needs it: it is
//! idle before the first byte of a request, between two requests, and for as long as a request's head is not complete.
//! Where all places are taken, the connection that has been idle longest is closed and the new one takes its place. One
//! that is being served keeps its place until its whole answer is written or it stops reading; the server bounds how long
//! its request may take.
//!
//! Clients that the server knows for its own move to places of their own ([`Seat::own`]): however many they are, they
//! take none from the others.
//!
//! [`http`] serves HTTP/1.1 by these rules; a server with another protocol uses [`Places`] itself. Who may ask for what is
//! the server's business.

mod answered;
pub mod http;
mod places;

pub use places::{Places, Seat};
