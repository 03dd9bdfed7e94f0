//! Foreground, background and popups, as an app of the board sees them.

use crate::app::App;
use crate::board::Board;
use crate::server::{Listener, Server, done};

pub(crate) async fn app_in_the_background_is_handed_the_last_ten_messages_when_it_is_shown() {
    let (server, mut board, _listener) = online().await;
    let mut app = App::in_front(&board).await;
    app.says("/hide").await;
    app.log.until("in the background").await;
    for n in 1..=12 {
        done(&server.send(&n.to_string()).await);
    }
    // Refused by the agent itself, so that it is known when what was sent before has arrived.
    done(&server.send_to("another-app", "1").await);
    board.log.until("was refused").await;
    app.says("/show").await;
    for n in 3..=12 {
        app.hears(&n.to_string()).await;
    }
    done(&server.send("13").await);
    app.hears("13").await;
}

pub(crate) async fn messages_wait_for_an_app_that_is_not_there() {
    let (server, mut board, mut listener) = online().await;
    done(&server.send("\"early\"").await);
    // Refused by the agent itself, so that it is known when what was sent before has arrived.
    done(&server.send_to("another-app", "1").await);
    board.log.until("was refused").await;
    let mut app = App::in_front(&board).await;
    app.hears("\"early\"").await;
    app.says("\"late\"").await;
    listener.hears("\"late\"").await;
}

pub(crate) async fn popup_is_answered_by_the_app() {
    let (server, board, _listener) = online().await;
    let mut app = App::in_front(&board).await;
    done(&server.popup("Fuel is low", r#"{"station":7}"#).await);
    let shown = app.log.until("popup, answer with /ok or /cancel").await;
    assert!(shown.contains("Fuel is low"), "{shown}");
    app.says("/ok").await;
    let ok = r#"{"popupAction":"WebPortal.okBtnPopupRequestClicked","content":{"station":7}}"#;
    app.is_handed(ok).await;
}

async fn online() -> (Server, Board, Listener) {
    let server = Server::start(&[]).await;
    let mut board = Board::start(Some(&server.block(&[]).await));
    let listener = server.listen().await;
    board.online().await;
    (server, board, listener)
}
