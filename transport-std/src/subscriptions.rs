//! The filters that every connection subscribes, and who waits for the broker's answer.

use tokio::sync::oneshot;

use crate::client::SubscribeError;
use crate::link_error::LinkError;
use crate::message::Qos;
use crate::wire::Answer;

/// Filters that a client may have. All of them fit into one SUBSCRIBE packet.
const SUBSCRIPTIONS_MAX: usize = 256;

/// Who is told what became of a subscription.
pub(crate) type Reply = oneshot::Sender<Result<(), SubscribeError>>;

#[derive(Debug)]
struct Subscription {
    filter: String,
    qos: Qos,
    /// Granted on some connection: from then on the user relies on it.
    granted_once: bool,
    granted_now: bool,
    waiting: Vec<Reply>,
}

/// The remembered filters, in the order of their first subscription.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions(Vec<Subscription>);

impl Subscriptions {
    /// Remembers a filter, or changes the QoS of one that is known.
    pub(crate) fn add(&mut self, filter: String, qos: Qos, reply: Reply) {
        if let Some(known) = self.0.iter_mut().find(|known| known.filter == filter) {
            known.qos = qos;
            known.granted_now = false;
            known.waiting.push(reply);
        } else if self.0.len() == SUBSCRIPTIONS_MAX {
            let _nobody_waits = reply.send(Err(SubscribeError::TooMany {
                max: SUBSCRIPTIONS_MAX,
            }));
        } else {
            self.0.push(Subscription {
                filter,
                qos,
                granted_once: false,
                granted_now: false,
                waiting: vec![reply],
            });
        }
    }

    /// Forgets what the previous connection was granted.
    pub(crate) fn start_connection(&mut self) {
        for subscription in &mut self.0 {
            subscription.granted_now = false;
        }
    }

    /// What is still to be subscribed on this connection.
    pub(crate) fn missing(&self) -> Vec<(String, Qos)> {
        self.0
            .iter()
            .filter(|subscription| !subscription.granted_now)
            .map(|subscription| (subscription.filter.clone(), subscription.qos))
            .collect()
    }

    /// Takes the broker's answers to `filters`. A filter refused the first time is forgotten.
    ///
    /// # Errors
    ///
    /// A filter that was granted before and is refused now: without it the link is useless.
    pub(crate) fn answered(
        &mut self,
        filters: &[(String, Qos)],
        answers: Vec<Answer>,
    ) -> Result<(), LinkError> {
        let mut lost = Ok(());
        for ((filter, _), answer) in filters.iter().zip(answers) {
            let Some(at) = self.0.iter().position(|known| known.filter == *filter) else {
                continue;
            };
            let known = &mut self.0[at];
            let outcome = match &answer {
                Answer::Granted => Ok(()),
                Answer::Refused(reason) => Err(SubscribeError::Refused {
                    reason: reason.clone(),
                }),
            };
            for reply in known.waiting.drain(..) {
                let _nobody_waits = reply.send(outcome.clone());
            }
            match answer {
                Answer::Granted => {
                    known.granted_once = true;
                    known.granted_now = true;
                }
                Answer::Refused(reason) if known.granted_once => {
                    lost = Err(LinkError::SubscriptionRefused {
                        filter: filter.clone(),
                        reason,
                    });
                }
                Answer::Refused(_) => {
                    self.0.remove(at);
                }
            }
        }
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(
        subscriptions: &mut Subscriptions,
        filter: &str,
    ) -> oneshot::Receiver<Result<(), SubscribeError>> {
        let (reply, answer) = oneshot::channel();
        subscriptions.add(filter.to_owned(), Qos::AtMostOnce, reply);
        answer
    }

    #[test]
    fn a_filter_refused_at_first_is_forgotten_and_one_refused_later_ends_the_link() {
        let mut subscriptions = Subscriptions::default();
        let mut good = asked(&mut subscriptions, "good");
        let mut bad = asked(&mut subscriptions, "bad");
        let filters = subscriptions.missing();
        assert_eq!(filters.len(), 2);
        let refused = || Answer::Refused("NotAuthorized".to_owned());
        assert_eq!(
            subscriptions.answered(&filters, vec![Answer::Granted, refused()]),
            Ok(())
        );
        assert_eq!(good.try_recv(), Ok(Ok(())));
        assert!(matches!(
            bad.try_recv(),
            Ok(Err(SubscribeError::Refused { .. }))
        ));
        assert_eq!(subscriptions.missing(), []);

        subscriptions.start_connection();
        let filters = subscriptions.missing();
        assert_eq!(filters, [("good".to_owned(), Qos::AtMostOnce)]);
        assert!(matches!(
            subscriptions.answered(&filters, vec![refused()]),
            Err(LinkError::SubscriptionRefused { .. })
        ));
    }

    #[test]
    fn one_filter_too_many_is_refused_without_asking_the_broker() {
        let mut subscriptions = Subscriptions::default();
        for n in 0..SUBSCRIPTIONS_MAX {
            drop(asked(&mut subscriptions, &n.to_string()));
        }
        let mut answer = asked(&mut subscriptions, "one more");
        assert_eq!(
            answer.try_recv(),
            Ok(Err(SubscribeError::TooMany {
                max: SUBSCRIPTIONS_MAX
            }))
        );
        assert_eq!(subscriptions.missing().len(), SUBSCRIPTIONS_MAX);
        drop(asked(&mut subscriptions, "0"));
    }
}
