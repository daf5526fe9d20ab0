//! What Redis commands are.
pub mod category;
pub mod databases;
mod fence;
pub mod keys;
mod lookup;
mod members;
mod movable;
mod names;
pub mod reported;
mod spec;
pub mod syntax;
mod table;

pub use fence::{Fence, View};
pub use lookup::{CommandTable, Reported, Resolution};
pub use spec::{
    Access, Affinity, Begin, Categories, Channels, CommandId, Databases, Find, Flags, Guard, KeySpec,
    Movable, Spec, flag,
};
