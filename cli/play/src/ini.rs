//! INI files, as Python's `configparser` reads them.

/// A line of a section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Setting {
    pub(crate) section: String,
    pub(crate) name: String,
    pub(crate) value: String,
}

/// The options by which a file is read.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct IniDialect {
    /// Whether names are case-sensitive.
    pub(crate) minds_case: bool,
    /// Whether a name may lack a value.
    pub(crate) allows_none: bool,
    /// Whether ` ;` starts a comment after a value.
    pub(crate) has_inline_comments: bool,
}

/// A file in sections.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Ini {
    pub(crate) sections: Vec<String>,
    pub(crate) settings: Vec<Setting>,
}

impl Ini {
    /// Parses a text, or returns what is wrong with it.
    pub(crate) fn parse(text: &str, form: IniDialect) -> Result<Self, String> {
        let mut ini = Self::default();
        let mut may_continue = false;
        for (at, line) in text.lines().enumerate() {
            let mut shown = line.trim();
            if shown.is_empty() || shown.starts_with(['#', ';']) {
                continue;
            }
            if form.has_inline_comments
                && let Some((before, _)) = shown.split_once(" ;")
            {
                shown = before.trim_end();
            }
            let is_indented = line.starts_with([' ', '\t']);
            let name = shown
                .strip_prefix('[')
                .and_then(|name| name.split_once(']'));
            if let Some((name, _)) = name.filter(|_| !is_indented) {
                ini.sections.push(name.to_owned());
                may_continue = false;
                continue;
            }
            let Some(section) = ini.sections.last() else {
                return Err(format!("line {} is outside of any section", at + 1));
            };
            if is_indented
                && may_continue
                && let Some(before) = ini.settings.last_mut()
            {
                before.value.push('\n');
                before.value.push_str(shown);
                continue;
            }
            let (name, value) = match shown.find(['=', ':']) {
                Some(split) => (shown[..split].trim(), shown[split + 1..].trim()),
                None if form.allows_none => (shown, ""),
                None => return Err(format!("line {} has no value", at + 1)),
            };
            ini.settings.push(Setting {
                section: section.clone(),
                name: if form.minds_case {
                    name.to_owned()
                } else {
                    name.to_lowercase()
                },
                value: value.to_owned(),
            });
            may_continue = true;
        }
        Ok(ini)
    }

    /// Returns the value of a setting. If it is set more than once, the last value wins.
    pub(crate) fn get(&self, section: &str, name: &str) -> Option<&str> {
        let mut settings = self.settings.iter().rev();
        let found = settings.find(|setting| setting.section == section && setting.name == name);
        found.map(|setting| setting.value.as_str())
    }
}
