//! The cases, by what they are about.

mod browser;
mod endurance;
mod hostile;
mod messages;
mod outages;
mod portal;
mod provisioning;
mod receipts;
mod time;
mod trust;
mod unsupported;
mod vectors;

use crate::Case;

macro_rules! cases {
    ($($file:ident: $($name:ident),*;)*) => {
        &[$($((stringify!($name), || Box::pin($file::$name()))),*),*]
    };
}

/// Every case.
pub(crate) const ALL: &[Case] = cases![
    endurance:
        ten_minutes_of_traffic_leave_as_much_room_as_before;
    messages:
        messages_go_both_ways_over_mutual_tls,
        messages_go_both_ways_in_the_sample_profile,
        messages_go_both_ways_over_plain_mqtt_with_a_static_address,
        the_largest_message_arrives_byte_for_byte_and_one_byte_more_is_refused,
        stack_stays_small_over_handshake_and_largest_messages;
    portal:
        app_in_the_background_is_handed_the_last_ten_messages_when_it_is_shown,
        messages_wait_for_an_app_that_is_not_there,
        popup_is_answered_by_the_app;
    browser:
        examples_of_the_documentation_run_on_the_board_as_they_are_written,
        example_app_shows_a_stop_and_its_answer_goes_back,
        page_that_is_reloaded_in_mid_drain_shows_each_message_once,
        popup_on_the_page_is_answered_with_ok,
        popup_on_the_page_is_cancelled,
        popup_on_the_page_that_nobody_answers_is_closed,
        app_of_the_page_reaches_neither_the_board_nor_another_app;
    trust:
        broker_of_another_authority_is_refused,
        broker_with_the_certificate_of_another_host_is_refused,
        broker_with_an_expired_certificate_is_refused,
        broker_with_a_certificate_that_is_not_valid_yet_is_refused,
        broker_with_the_certificate_of_a_vehicle_is_refused,
        broker_with_a_certificate_issued_by_a_vehicle_is_refused,
        broker_that_refuses_the_vehicles_certificate_is_told_from_a_broken_link;
    time:
        board_without_a_clock_asks_a_time_server_and_connects,
        board_that_is_told_a_time_long_past_trusts_nobody,
        board_that_was_told_a_time_far_ahead_finds_certificates_expired_and_asks_again,
        board_that_is_told_no_time_trusts_nobody,
        board_without_tls_asks_nobody_for_the_time;
    outages:
        board_comes_back_when_its_broker_is_started_again,
        board_notices_that_its_server_is_frozen_and_comes_back_when_it_thaws,
        board_comes_back_when_its_cable_is_plugged_in_again,
        board_that_is_reset_connects_again,
        fault_of_the_processor_is_told_after_the_reset_that_follows_it,
        stack_overflow_of_a_task_is_told_after_the_reset_that_follows_it,
        stack_overflow_of_an_interrupt_is_told_after_the_reset_that_follows_it,
        panic_of_the_firmware_is_told_after_the_reset_that_follows_it,
        uplink_waits_while_the_broker_is_away,
        message_waits_while_the_vehicle_has_no_power,
        power_cut_in_the_middle_of_a_message_harms_nothing,
        will_tells_a_foreign_broker_that_the_power_went;
    receipts:
        each_step_of_a_message_on_the_board_is_told,
        messages_that_a_broker_loses_are_repeated_and_shown_once,
        message_that_a_board_had_when_its_power_went_is_told_as_lost_with_its_memory,
        messages_of_an_app_come_once_though_the_broker_is_started_again,
        broker_that_freezes_and_goes_on_or_is_replaced_costs_nothing_and_repeats_nothing,
        board_that_starts_again_with_receipts_on_their_way_tells_each_sender_once;
    unsupported:
        long_message_to_a_board_is_refused_with_what_it_takes,
        part_of_a_long_message_that_somebody_forges_is_refused_and_does_no_harm,
        request_to_a_board_is_denied_at_once;
    hostile:
        hundred_thousand_random_bytes_to_the_portal_are_counted_and_reported,
        app_that_never_reads_is_ended_and_the_next_one_is_served,
        flood_and_bad_messages_of_a_broker_are_counted_and_reported,
        flood_at_an_app_that_reads_loses_nothing_that_is_not_counted,
        frames_that_are_too_long_are_dropped_counted_and_reported,
        board_without_an_answer_of_dhcp_says_so_and_asks_on;
    provisioning:
        board_without_a_block_says_so_and_ends,
        board_with_the_key_of_another_vehicle_says_so_and_ends,
        board_refuses_blocks_that_are_damaged_cut_off_newer_older_or_foreign;
    vectors:
        golden_vectors_of_the_protocol_are_the_same_bytes_on_the_target;
];
