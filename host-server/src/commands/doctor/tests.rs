//! What a look says of a broker that behaves badly, in no time: the clock of these tests is virtual.

use super::*;

#[test]
fn the_own_topic_is_one_that_a_partner_publishes_on_for_no_vehicle() {
    let topic = own_topic(&TopicScheme::default(), &Uid::parse("me").unwrap());
    let expected = "psa/OVIPPartners-Dev/to/uid/me/opa/VINBUSDOCTOR00000/";
    assert_eq!(topic.as_deref(), Some(expected));
    assert!(OWN_VIN.contains(['I', 'O', 'Q']), "a VIN has none of them");
}
