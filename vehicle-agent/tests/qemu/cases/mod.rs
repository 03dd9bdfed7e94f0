//! The cases, by what they are about.

mod messages;
mod provisioning;

use crate::Case;

macro_rules! cases {
    ($($file:ident: $($name:ident),*;)*) => {
        &[$($((stringify!($name), || Box::pin($file::$name()))),*),*]
    };
}

/// Every case.
pub(crate) const ALL: &[Case] = cases![
    messages:
        messages_go_both_ways_over_mutual_tls,
        messages_go_both_ways_in_the_sample_profile,
        messages_go_both_ways_over_plain_mqtt,
        the_largest_message_arrives_byte_for_byte_and_one_byte_more_is_refused;
    provisioning:
        board_without_a_block_says_so_and_ends,
        board_refuses_blocks_that_are_damaged_cut_off_newer_or_foreign;
];
