//! What the last request of a client called itself: most clients send one command again and again.

use super::gate;
use super::{Facts, Policy, Reason, Verdict};
use crate::command::{CommandId, Resolution, Spec};
use crate::resp::{Request, RequestBuf};

/// Longest name that is remembered; hardly a command has a longer one.
const MAX_NAME_BYTES: usize = 16;

/// A command's name as a client wrote it, and what it meant in a policy.
#[derive(Default)]
pub struct LastName {
    name: [u8; MAX_NAME_BYTES],
    length: usize,
    command: Option<CommandId>,
    /// Of the policy.
    generation: u64,
}

impl LastName {
    #[inline]
    fn find<'p>(&self, name: &[u8], policy: &'p Policy) -> Option<&'p Spec> {
        let known = self.generation == policy.generation && self.name.get(..self.length) == Some(name);
        self.command.filter(|_| known).and_then(|id| policy.table.spec(id))
    }

    /// Remembers a name; nothing, if it is too long.
    fn note(&mut self, name: &[u8], spec: &Spec, policy: &Policy) {
        self.command = None;
        if let Some(room) = self.name.get_mut(..name.len()) {
            room.copy_from_slice(name);
            (self.length, self.command, self.generation) = (name.len(), Some(spec.id), policy.generation);
        }
    }
}

impl Policy {
    /// As [`Policy::judge`], for who judges one request after the other: what a name means is not looked up again for the
    /// next request of the same name.
    #[inline]
    pub fn judge_next<'a>(
        &'a self,
        last: &mut LastName,
        facts: Facts<'_>,
        request: Request<'a>,
        scratch: &'a mut RequestBuf,
    ) -> Verdict<'a> {
        let name = request.name();
        if let Some(spec) = last.find(name, self) {
            return self.judge_resolved(facts, request, Resolution::Known(spec));
        }
        if gate::is_cross_protocol(request) {
            return Verdict::Deny(Reason::CrossProtocol);
        }
        let (request, resolution) = self.resolve(request, scratch);
        // Of a container, the next word decides; and a new name given to a command is not what it is judged and sent by.
        if let Resolution::Known(spec) = resolution
            && spec.parent.is_none()
            && !spec.is_container()
            && request.name() == name
        {
            last.note(name, spec, self);
        }
        self.judge_resolved(facts, request, resolution)
    }
}
