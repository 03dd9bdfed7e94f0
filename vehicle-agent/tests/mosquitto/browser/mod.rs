//! The portal's page in a real Chromium: partners' HTML5 apps, as they are.

mod cabin;

mod delivery;
mod hostile;
mod lines;
mod next_stop;
mod popups;
mod restarts;
mod seed;
mod sight;
