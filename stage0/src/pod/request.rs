//! What the user asks for, app by app: flags parsed, images found, nothing looked up yet.

use stage1_skim::unit::Setting;

use crate::store::Image;

/// One app, as asked for.
#[derive(Debug)]
pub struct AppRequest {
    /// The image that it runs from.
    pub image: Image,
    /// `--name`.
    pub name: Option<String>,
    /// `--exec`, which replaces the image's whole command line.
    pub exec: Option<String>,
    /// What stands after `--`: appended to the command line.
    pub arguments: Vec<String>,
    /// `--set-env`.
    pub environment: Vec<(String, String)>,
    /// `--requires`, which replaces the image's.
    pub requires: Option<Vec<String>>,
    /// `--property`.
    pub settings: Vec<Setting>,
}
