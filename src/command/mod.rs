//! What Redis commands are.
pub mod category;
pub mod keys;
mod lookup;
mod movable;
pub mod reported;
mod spec;
mod table;

pub use lookup::{CommandTable, Reported, Resolution};
pub use spec::{
    Access, Affinity, Begin, Categories, Channels, CommandId, Find, Flags, KeySpec, Movable, Spec, flag,
};
