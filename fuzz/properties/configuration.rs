//! The `sorft.yaml` of a repository that nobody has vouched for.

use sorft::config::environment::Environment;
use sorft::config::folder::Folders;
use sorft::config::key::Setter;
use sorft::config::layer::read_layer;
use sorft::config::{FILE_NAME, Flags, Origin, resolve};

use super::scratch;

/// It is refused, or sets nothing but what harms nobody, and what it may not set is told.
pub(crate) fn check(data: &[u8]) {
    scratch::with_file(FILE_NAME, data, |path| {
        let folder = path.parent().expect("a file lies in a folder");
        let folders = Folders {
            config: folder.join("config"),
            cache: folder.join("cache"),
            state: folder.join("state"),
        };
        let environment = Environment::of(&[]);
        let read = |root| resolve(root, &environment, &folders, &Flags::default());
        let layer = read_layer(path);
        let resolved = match read(Some(folder)) {
            Ok(resolved) => resolved,
            Err(why) => {
                let message = format!("{why:#}");
                return assert!(message.len() < 4096, "a message of {} bytes", message.len());
            }
        };
        let layer = layer.expect("what counts can be read").expect("the file is there");
        let defaults = read(None).expect("the defaults are sound");
        for (setting, default) in resolved.settings.iter().zip(&defaults.settings) {
            if setting.key.setter == Setter::Trusted {
                assert_eq!(setting, default, "`{}` counts without trust", setting.key.name);
            } else {
                let is_set = layer.values.iter().any(|(key, _)| key == &setting.key);
                assert_eq!(is_set, matches!(setting.origin, Origin::Repository(_)));
            }
        }
        for (key, _) in layer.values.iter().filter(|(key, _)| key.setter == Setter::Trusted) {
            let is_told = |note: &String| note.contains(&format!("`{}`", key.name));
            assert!(resolved.notes.iter().any(is_told), "`{}` is ignored in silence", key.name);
        }
    });
}
