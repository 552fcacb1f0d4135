//! `template`: messages to the text of a prompt.

use super::{printable, text};
use anyhow::{Context, bail, ensure};
use qwen_edge::chat::{Request, Template};
use qwen_edge::gguf::Gguf;
use serde_json::{Map, Value};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// Print the prompt that the model's chat template makes of messages.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  \
    echo '{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}], \"add_generation_prompt\": true,\n         \
    \"enable_thinking\": false}' | qwen-edge template model.gguf --messages -")]
pub struct Args {
    /// The model, or a file with nothing but its vocabulary
    model: PathBuf,
    /// JSON with "messages" and, if wanted, "tools", "documents", "add_generation_prompt", "enable_thinking", and
    /// further variables in "chat_template_kwargs" (or "kwargs"); `-` is standard input
    #[arg(long, value_name = "FILE")]
    messages: PathBuf,
}

/// The fields of a request.
const FIELDS: [&str; 7] =
    ["messages", "tools", "documents", "add_generation_prompt", "enable_thinking", "chat_template_kwargs", "kwargs"];

/// Renders the messages and prints the prompt on stdout, nothing added.
pub fn run(args: Args) -> anyhow::Result<()> {
    let gguf = Gguf::open(&args.model)?;
    let template = Template::from_gguf(&gguf).with_context(|| args.model.display().to_string())?;
    let request = read_request(&args.messages).with_context(|| args.messages.display().to_string())?;
    let prompt = template.render(&request)?;
    let mut out = io::stdout().lock();
    out.write_all(printable::output(&prompt).as_bytes())
        .and_then(|()| out.flush())
        .context("cannot write to standard output")
}

fn read_request(path: &Path) -> anyhow::Result<Request> {
    let mut json = Vec::new();
    if path == Path::new("-") {
        io::stdin().lock().read_to_end(&mut json).context("cannot read standard input")?;
    } else {
        json = std::fs::read(path).context("cannot be read")?;
    }
    request(serde_json::from_str(&text::decode(&json)?).context("not the JSON that is expected")?)
}

/// The request of a JSON object, whose fields are all known.
fn request(mut fields: Map<String, Value>) -> anyhow::Result<Request> {
    if let Some(unknown) = fields.keys().find(|name| !FIELDS.contains(&name.as_str())) {
        bail!("unknown field {unknown:?}: the fields are {}", FIELDS.join(", "));
    }
    let mut variables = Map::new();
    for name in ["kwargs", "chat_template_kwargs"] {
        match fields.remove(name) {
            None | Some(Value::Null) => {}
            Some(Value::Object(more)) => {
                more.into_iter().try_for_each(|(name, value)| add(&mut variables, name, value))?
            }
            Some(_) => bail!("{name} is not an object"),
        }
    }
    if let Some(thinking) = fields.remove("enable_thinking") {
        ensure!(thinking.is_boolean(), "enable_thinking is neither true nor false");
        add(&mut variables, "enable_thinking".to_owned(), thinking)?;
    }
    fields.insert("kwargs".to_owned(), variables.into());
    serde_json::from_value(fields.into()).context("not the JSON that is expected")
}

/// Adds a variable, which may be given twice if it is the same.
fn add(variables: &mut Map<String, Value>, name: String, value: Value) -> anyhow::Result<()> {
    if let Some(other) = variables.get(&name)
        && *other != value
    {
        bail!("{name:?} is given twice, with different values");
    }
    variables.insert(name, value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(json: Value) -> Result<Request, String> {
        request(json.as_object().unwrap().clone()).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn variables_are_taken_wherever_they_are_given() {
        let expected = json!({"enable_thinking": false, "x": 1});
        for fields in [
            json!({"messages": [], "kwargs": {"enable_thinking": false, "x": 1}}),
            json!({"messages": [], "chat_template_kwargs": {"enable_thinking": false, "x": 1}}),
            json!({"messages": [], "enable_thinking": false, "kwargs": null, "chat_template_kwargs": {"x": 1}}),
            json!({"messages": [], "enable_thinking": false, "kwargs": {"enable_thinking": false},
                   "chat_template_kwargs": {"x": 1}}),
        ] {
            let request = read(fields.clone()).unwrap();
            assert_eq!(Value::Object(request.kwargs.unwrap()), expected, "{fields}");
            assert!(!request.add_generation_prompt);
        }
    }

    #[test]
    fn what_is_not_understood_is_refused_by_name() {
        let error = read(json!({"messages": [], "temperature\u{1b}[31m": 1})).unwrap_err();
        assert!(error.contains("\"temperature\\u{1b}[31m\""), "{error}");
        assert!(FIELDS.iter().all(|name| error.contains(name)), "{error}");
        for (fields, expected) in [
            (json!({"messages": [], "enable_thinking": "no"}), "enable_thinking"),
            (json!({"messages": [], "enable_thinking": true, "kwargs": {"enable_thinking": false}}), "enable_thinking"),
            (json!({"messages": [], "chat_template_kwargs": []}), "chat_template_kwargs"),
            (json!({"tools": []}), "messages"),
        ] {
            let error = read(fields).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
