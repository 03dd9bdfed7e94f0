//! A vehicle whose portal is open in a browser.

use serde_json::{Value, json};
use tempfile::TempDir;
use vinbus_chromium::Page;

use crate::world::{Vehicle, World};

/// What the pages of the tests' own apps begin with: `log` keeps what they get, over reloads.
pub(crate) const LOGGING: &str = include_str!("../../app/logging.html");

/// A world with one vehicle and its portal's page.
pub(crate) struct Cabin {
    pub(crate) world: World,
    pub(crate) vehicle: Vehicle,
    pub(crate) page: Page,
    folders: TempDir,
}

impl Cabin {
    /// A vehicle with apps of one page, each an identifier and HTML, and the launcher before the
    /// driver.
    pub(crate) async fn new(apps: &[(&str, &str)]) -> Self {
        Self::with(apps, &[], async |_, _| {}).await
    }

    /// The same with apps that note what they get.
    pub(crate) async fn logging(apps: &[&str], more: &[&str]) -> Self {
        let apps: Vec<_> = apps.iter().map(|app| (*app, LOGGING)).collect();
        Self::with(&apps, more, async |_, _| {}).await
    }

    /// The same after something has happened to the vehicle before its portal is opened.
    pub(crate) async fn with(
        apps: &[(&str, &str)],
        more: &[&str],
        before: impl AsyncFnOnce(&World, &Vehicle),
    ) -> Self {
        let folders = tempfile::tempdir().unwrap();
        for (app, html) in apps {
            let folder = folders.path().join(app);
            std::fs::create_dir(&folder).unwrap();
            std::fs::write(folder.join("index.html"), html).unwrap();
        }
        let mut world = World::new().await;
        let (installed, mut options) = options(&folders, apps.iter().map(|(app, _)| *app));
        options.extend(more.iter().map(|option| (*option).to_owned()));
        let vehicle = world.vehicle(&strs(&installed), &strs(&options)).await;
        before(&world, &vehicle).await;
        let mut page = Page::open(&format!("http://{}/", vehicle.portal), (800, 480)).await;
        page.until("document.querySelector('.tile')").await;
        Self {
            world,
            vehicle,
            page,
            folders,
        }
    }

    /// Stops the agent in good order and starts it again at the same address.
    pub(crate) async fn restart(&mut self, apps: &[&str], more: &[&str]) {
        assert!(self.vehicle.terminate());
        let (installed, mut options) = options(&self.folders, apps.iter().copied());
        options.extend(more.iter().map(|option| (*option).to_owned()));
        options.extend(["--portal".to_owned(), self.vehicle.portal.to_string()]);
        self.vehicle = self.world.vehicle(&strs(&installed), &strs(&options)).await;
    }

    /// Starts an app, or shows it, and waits until the agent has it in the foreground.
    pub(crate) async fn open(&mut self, app: &str) {
        self.page.press(&tile(app, "open")).await;
        self.until(app, "isShown").await;
    }

    /// Goes from an app to the launcher and waits until the agent has the app in the background, which
    /// it hears of by another way than of messages.
    pub(crate) async fn home(&mut self, app: &str) {
        self.page.press("#home").await;
        self.until(app, "!isShown").await;
    }

    /// What an expression is in an app's page.
    pub(crate) async fn eval(&mut self, app: &str, expression: &str) -> Value {
        self.page.eval_frame(&host(app), expression).await
    }

    /// Waits until an expression is true in an app's page.
    pub(crate) async fn until(&mut self, app: &str, expression: &str) -> Value {
        self.page.until_frame(&host(app), expression).await
    }

    /// Waits until an app has noted these contents, in order, and none besides them.
    pub(crate) async fn has_noted(&mut self, app: &str, contents: &[Value]) {
        let count = contents.len();
        let noted = format!("(drain(), log().length >= {count}) && log()");
        let noted = self.until(app, &noted).await;
        let expected: Vec<_> = contents.iter().map(|c| json!({ "content": c })).collect();
        assert_eq!(noted, json!(expected));
    }
}

fn options<'a>(
    folders: &TempDir,
    apps: impl Iterator<Item = &'a str>,
) -> (Vec<String>, Vec<String>) {
    let (mut installed, mut options) = (Vec::new(), Vec::new());
    for app in apps {
        let folder = folders.path().join(app);
        installed.push(format!("{app}=demo-partner"));
        options.push(format!("--app-pages={app}={}", folder.display()));
    }
    (installed, options)
}

fn strs(texts: &[String]) -> Vec<&str> {
    texts.iter().map(String::as_str).collect()
}

/// The selector of a button on an app's tile.
pub(crate) fn tile(app: &str, button: &str) -> String {
    format!(".tile[data-app='{app}'] > .{button}")
}

/// How the addresses of an app's pages begin.
pub(crate) fn host(app: &str) -> String {
    format!("http://{app}.localhost:")
}
