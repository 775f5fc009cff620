//! Putting the members of objects in order.

/// Where a member stands in the output.
#[derive(Clone, Copy)]
pub(super) struct Member {
    pub(super) start: usize,
    pub(super) key_end: usize,
    pub(super) end: usize,
    /// Where its key stands in the input, for the error.
    pub(super) source: usize,
}

/// An object whose members are not in order in the output.
pub(super) struct Disordered {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) members: Vec<Member>,
}

/// Copies a canonical text once, with the members of disordered objects in order.
pub(super) fn in_order(output: Vec<u8>, mut disordered: Vec<Disordered>) -> Vec<u8> {
    if disordered.is_empty() {
        return output;
    }
    // Objects close inside out; they are looked up by where they begin.
    disordered.sort_unstable_by_key(|object| object.start);
    let mut canonical = Vec::with_capacity(output.len());
    // Pieces still to be copied, the next one last.
    let mut pieces = vec![(0, output.len())];
    while let Some((start, end)) = pieces.pop() {
        let next = disordered.partition_point(|object| object.start < start);
        let Some(object) = disordered.get(next).filter(|object| object.start < end) else {
            canonical.extend_from_slice(&output[start..end]);
            continue;
        };
        canonical.extend_from_slice(&output[start..=object.start]);
        pieces.push((object.end - 1, end));
        // A member is followed by the comma that any member but the last brings along.
        let comma = object
            .members
            .iter()
            .map(|member| member.end)
            .min()
            .unwrap_or(0);
        for (index, member) in object.members.iter().enumerate().rev() {
            pieces.push((member.start, member.end));
            if index > 0 {
                pieces.push((comma, comma + 1));
            }
        }
    }
    canonical
}
