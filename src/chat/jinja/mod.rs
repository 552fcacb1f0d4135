//! Jinja, the language of chat templates, as the Python library jinja2 runs it.
//!
//! Templates are written for one environment: the immutable sandbox of jinja2 as the libraries of the model's
//! publishers set it up. They lean on how Python prints and compares values, on the methods of its strings, and on corners of
//! jinja2; a file of reference values in `tests/chat` compares several hundred of these. What differs is listed there.
//!
//! | file | idea |
//! |---|---|
//! | `lexer`, `parser`, `scopes`, `syntax` | source to tokens to a tree |
//! | `value`, `int`, `float` | what expressions yield |
//! | `print`, `json`, `format`, `text` | values as text |
//! | `ops`, `slice` | operators |
//! | `strings`, `methods`, `filters`, `predicates`, `functions`, `args`, `host` | what templates call |
//! | `vm` | runs the tree |
//! | `meter`, `error` | what a template may use, and how it ends when it wants more |

mod args;
pub mod error;
mod filters;
mod float;
mod format;
mod functions;
mod host;
mod int;
mod json;
mod lexer;
mod meter;
mod methods;
mod ops;
mod parser;
mod predicates;
mod print;
mod scopes;
mod slice;
mod strings;
mod syntax;
mod text;
mod value;
mod vm;

use error::Error;
use meter::Meter;
use serde_json::{Map, Value};

pub use lexer::normal_lines;
pub use meter::Limits;
pub use syntax::Program;

impl Program {
    /// The text that the template makes with the given variables; `defaults` are used for those that are not among
    /// them.
    ///
    /// # Errors
    /// The template fails, raises an error itself, or needs more than `limits`.
    pub fn render(
        &self,
        variables: &Map<String, Value>,
        defaults: &[(&str, String)],
        limits: Limits,
    ) -> Result<String, Error> {
        self.render_with(&Meter::new(limits), variables, defaults)
    }

    fn render_with(
        &self,
        meter: &Meter,
        variables: &Map<String, Value>,
        defaults: &[(&str, String)],
    ) -> Result<String, Error> {
        let vm = vm::Vm::new(self, meter.clone(), |meter, name| match variables.get(name) {
            Some(value) => json::value(meter, value).map(Some),
            None => match defaults.iter().find(|(default, _)| *default == name) {
                Some((_, text)) => value::Value::text(meter, text).map(Some),
                None => Ok(None),
            },
        })?;
        vm.render()
    }
}

#[cfg(test)]
mod tests {
    use super::error::Cause;
    use super::*;
    use serde_json::json;
    use std::time::{Duration, Instant};

    fn variables(json: Value) -> Map<String, Value> {
        json.as_object().unwrap().clone()
    }

    /// What an attack may take in a test, on a machine that may be busy or emulated. What is not metered takes minutes.
    const SOON: Duration = Duration::from_secs(10);

    /// About a tenth of what templates are given.
    const LIMITS: Limits = Limits { work: 400_000, memory: 8 << 20 };

    /// Each line of the file is a template that would run for minutes, take gigabytes, or overflow the stack.
    #[test]
    fn every_way_of_making_much_is_metered() {
        let context = variables(json!({"big": 12345678901234567890123_u128}));
        for attack in include_str!("../../../tests/chat/attacks.txt").lines() {
            let program = Program::parse(attack).unwrap();
            let meter = meter::Meter::new(LIMITS);
            let start = Instant::now();
            let result = program.render_with(&meter, &context, &[]);
            let took = start.elapsed();
            assert!(result.is_err(), "{attack}: {} bytes", result.unwrap().len());
            assert!(took < SOON, "{attack} took {took:?}");
            // What holds itself would never be given back.
            assert!(meter.is_settled(), "{attack} leaves values behind");
        }
    }

    /// Sources that nest deeply, or that are long.
    #[test]
    fn every_source_compiles_or_is_refused_soon() {
        let n = 20_000;
        let hostile = [
            format!("{{{{ {}1{} }}}}", "(".repeat(n), ")".repeat(n)),
            format!("{{{{ {}", "[".repeat(n)),
            format!("{{{{ {}", "{1:".repeat(n)),
            format!("{{{{ {}1 }}}}", "-".repeat(n)),
            format!("{{{{ {}1 }}}}", "not ".repeat(n)),
            format!("{{{{ 1{} }}}}", " if 1".repeat(n)),
            format!("{{{{ 1{} }}}}", " if 1 else 1".repeat(n)),
            format!("{{{{ f({}", "f(".repeat(n)),
            format!("{{{{ a{}", "[a".repeat(n)),
            format!("{{{{ a{}", "|f(a".repeat(n)),
            format!("{{% set {}", "(".repeat(n)),
            "{% if 1 %}".repeat(n),
            "{% for i in [1] %}".repeat(n),
            "{% macro f() %}".repeat(n),
            "{% raw %}".repeat(n),
            format!("{{% raw %}}{}", "{% endraw".repeat(n)),
            format!("{{#{}", "#".repeat(n)),
            "{".repeat(n),
            "{{ '".repeat(n),
            "\r".repeat(2 << 20),
        ];
        for source in hostile {
            let start = Instant::now();
            let _ = Program::parse(&source);
            assert!(start.elapsed() < SOON, "{}", &source[..30]);
        }
        let long = [
            (format!("{{{{ 1{} }}}}", "+1".repeat(n)), true),
            (format!("{{{{ 'a'{} }}}}", "|upper".repeat(n)), true),
            (format!("{{{{ x{} }}}}", ".a".repeat(n)), false),
            (format!("{{{{ [{}] }}}}", "1,".repeat(n)), true),
            ("{{ a }}".repeat(n), true),
            ((0..n / 10).map(|i| format!("{{% set a{i} = 1 %}}")).collect(), true),
            (
                format!(
                    "{{% macro m({}a) %}}{{% endmacro %}}",
                    (0..n / 10).map(|i| format!("a{i},")).collect::<String>()
                ),
                true,
            ),
        ];
        for (source, fine) in long {
            let start = Instant::now();
            let result = Program::parse(&source).and_then(|program| program.render(&Map::new(), &[], LIMITS));
            assert_eq!(result.is_ok(), fine, "{}: {result:?}", &source[..30]);
            assert!(start.elapsed() < SOON, "{}", &source[..30]);
        }
    }

    #[test]
    fn what_is_made_and_dropped_can_be_made_again() {
        // A megabyte a hundred times, within eight.
        let source = "{% for i in range(100) %}{% set x = 'x' * 100000 ~ i %}{% endfor %}{{ x|length }}";
        let program = Program::parse(source).unwrap();
        assert!(program.render(&Map::new(), &[], LIMITS).is_ok());
    }

    #[test]
    fn errors_have_the_line_of_their_statement() {
        let cases = [
            ("a\n\n{{ 1 + none }}\n", 3),
            ("{% macro f() %}\n{{ 1 / 0 }}\n{% endmacro %}\n\n{{ f() }}", 2),
            ("\n{% for x in [1] %}\n\n{% if x %}{{ x.y.z }}{% endif %}{% endfor %}", 4),
            ("a\n{% if %}", 2),
            ("\r\n\r\n{{ x + 1 }}", 3),
        ];
        for (source, line) in cases {
            let error =
                Program::parse(source).and_then(|program| program.render(&Map::new(), &[], LIMITS)).unwrap_err();
            assert_eq!(error.into_parts().0, line, "{source}");
        }
    }

    #[test]
    fn messages_say_what_was_wrong_without_characters_that_steer() {
        let message =
            |source: &str| match Program::parse(source).and_then(|program| program.render(&Map::new(), &[], LIMITS)) {
                Ok(text) => panic!("{source}: {text}"),
                Err(error) => match error.into_parts().1 {
                    Cause::Syntax(message) | Cause::Failed(message) => message,
                    cause => panic!("{source}: {cause:?}"),
                },
            };
        assert_eq!(message("{{ messages.x }}"), "`messages` is undefined");
        assert_eq!(message("{{ {}.role.x }}"), "`dict object` has no attribute `role`");
        assert_eq!(message("{% macro m(a) %}{{ a + 1 }}{% endmacro %}{{ m() }}"), "the parameter `a` was not given");
        assert_eq!(message("{{ 1 + 'a' }}"), "unsupported operands for +: int and str");
        assert_eq!(message("{{ 1|nothing }}"), "there is no filter `nothing`");
        assert_eq!(message("{% if x %}"), "`if` of line 1 does not end: `elif`, `else`, `endif` is missing");
        for source in [
            "{{ f(**{'\x1b[31m\x07': 1}) }}{{ dict(*[1], **{'\x1b': 1}) }}",
            "{{ 1|default(**{'\x1b[31m': 1}) }}",
            "{{ {'\x1b[2J x': 1}|xmlattr }}",
            "{{ '\x1b[31m'|map('\x1b[31m')|list }}",
            "{{ ['a']|select('\u{9b}31m')|list }}",
            "{{ \x1b[31m }}",
            "{% \x1b %}",
            "{% set ns = namespace() %}{% set ns['\x1b'] = 1 %}",
            "{{ namespace(**{'_\x1b': 1}) }}",
            "{% macro m() %}{% endmacro %}{{ m(**{'\x1b[31m': 1}) }}",
        ] {
            let message = message(source);
            assert!(!message.contains(char::is_control), "{message:?}");
        }
    }
}
