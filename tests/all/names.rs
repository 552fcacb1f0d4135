//! Models by name: those in the folders of other programs are found, and used where they lie.

use crate::support::program::program;
use crate::support::scratch::Scratch;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// The program with a home of its own.
fn at_home(home: &Scratch) -> Command {
    let mut command = program();
    for variable in
        ["HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "OLLAMA_MODELS", "LLAMA_CACHE", "QWEN_EDGE_HOME"]
    {
        command.env_remove(variable);
    }
    let paths = [
        ("HOME", ""),
        ("XDG_CACHE_HOME", ".cache"),
        ("XDG_DATA_HOME", ".local/share"),
        ("LOCALAPPDATA", "AppData/Local"),
    ];
    command.envs(paths.map(|(name, path)| (name, home.0.join(path)))).stdin(Stdio::null());
    command
}

fn list(home: &Scratch) -> Vec<Value> {
    let output = at_home(home).args(["list", "--json"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn run(home: &Scratch, model: &str) -> Output {
    at_home(home).args(["run", model, "-p", "What is 2 + 3?", "--greedy", "-n", "8", "--ctx", "256"]).output().unwrap()
}

fn demo(file: &str) -> PathBuf {
    fs::canonicalize(Path::new("models").join(file)).unwrap()
}

/// A link to a file, or where few users may make one, a copy of it if it is there.
fn link(target: impl AsRef<Path>, place: impl AsRef<Path>) -> std::io::Result<()> {
    #[cfg(unix)]
    return std::os::unix::fs::symlink(target, place);
    #[cfg(windows)]
    if target.as_ref().exists() { fs::copy(target, place).map(drop) } else { Ok(()) }
}

/// Puts the demo model where the hub's client would have put a repository.
fn fill_hub(home: &Scratch, repo: &str, files: &[(&str, PathBuf)]) {
    let folder = home.0.join(".cache/huggingface/hub").join(format!("models--{}", repo.replace('/', "--")));
    let snapshot = folder.join("snapshots").join(COMMIT);
    fs::create_dir_all(&snapshot).unwrap();
    fs::create_dir_all(folder.join("refs")).unwrap();
    fs::write(folder.join("refs/main"), COMMIT).unwrap();
    for (name, target) in files {
        link(target, snapshot.join(name)).unwrap();
    }
}

#[test]
fn models_of_other_programs_are_found_and_run_by_name() {
    let home = Scratch::new("names");
    assert_eq!(list(&home), [] as [Value; 0]);
    let files = [
        ("Qwen3.5-0.8B-Q4_K_M.gguf", demo("demo-q4_k_m.gguf")),
        ("Qwen3.5-0.8B-Q8_0.gguf", demo("demo-q8_0.gguf")),
        ("Qwen3.5-0.8B-BF16.gguf", home.0.join("gone")),
        ("mmproj-F16.gguf", demo("mmproj-demo.gguf")),
    ];
    fill_hub(&home, "unsloth/Qwen3.5-0.8B-GGUF", &files);
    // Ollama's store.
    let store = home.0.join(".ollama/models");
    let hash = "a".repeat(64);
    fs::create_dir_all(store.join("blobs")).unwrap();
    link(demo("demo-q8_0.gguf"), store.join("blobs").join(format!("sha256-{hash}"))).unwrap();
    let manifests = store.join("manifests/registry.ollama.ai/library/qwen3.5");
    fs::create_dir_all(&manifests).unwrap();
    let layer = |digest: &str| json!({"mediaType": "application/vnd.ollama.image.model", "digest": digest, "size": 0});
    fs::write(manifests.join("9b"), json!({"layers": [layer(&format!("sha256:{hash}"))]}).to_string()).unwrap();
    fs::write(manifests.join("out"), json!({"layers": [layer("sha256:../../../../etc/passwd")]}).to_string()).unwrap();
    fs::write(manifests.join("broken"), "{").unwrap();
    // LM Studio's folder.
    let studio = home.0.join(".lmstudio/models/someone/Small-GGUF");
    fs::create_dir_all(&studio).unwrap();
    fs::copy(demo("demo-q4_k_m.gguf"), studio.join("small-Q4_K_M.gguf")).unwrap();

    let models = list(&home);
    let hub = "unsloth/Qwen3.5-0.8B-GGUF";
    let [bf16, q4, q8] = ["BF16", "Q4_K_M", "Q8_0"].map(|quant| format!("{hub}:{quant}"));
    let mut expected = vec![
        ("ollama:qwen3.5:9b", "ollama", true),
        ("someone/Small-GGUF:Q4_K_M", "lmstudio", true),
        (&bf16, "huggingface", false),
        (&q4, "huggingface", true),
        (&q8, "huggingface", true),
    ];
    // Where few users may make links, there is none that leads nowhere.
    expected.retain(|(name, ..)| cfg!(unix) || *name != bf16);
    let found = models.iter().map(|model| {
        let word = |key: &str| model[key].as_str().unwrap();
        (word("name"), word("source"), model["complete"].as_bool().unwrap())
    });
    assert_eq!(found.collect::<Vec<_>>(), expected);
    let last = &models[models.len() - 1];
    assert_eq!(last["bytes"], json!(fs::metadata("models/demo-q8_0.gguf").unwrap().len()));
    assert!(last["mmproj"].as_str().unwrap().ends_with("mmproj-F16.gguf"), "{last}");
    for name in ["ollama:qwen3.5:9b", "qwen3.5:9b", "someone/small-gguf", "qwen3.5:0.8b", &format!("{hub}:q4_k_m")] {
        let output = run(&home, name);
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "2+3=5", "{name}: {told}");
        // Of two the larger is taken, as both fit.
        assert_eq!(
            told.contains("of 2 files for qwen3.5:0.8b") && told.contains(":Q8_0 is taken: the best that fits ("),
            name == "qwen3.5:0.8b"
        );
    }
}

#[test]
fn what_lies_in_this_programs_own_folder_is_found() {
    let home = Scratch::new("names");
    let data = if cfg!(windows) { "AppData/Local" } else { ".local/share" };
    let own = home.0.join(data).join("qwen-edge").join("models");
    let repo = own.join("someone/Mine-GGUF");
    fs::create_dir_all(&repo).unwrap();
    fs::copy(demo("demo-q4_k_m.gguf"), repo.join("mine-Q4_K_M.gguf")).unwrap();
    fs::copy(demo("mmproj-demo.gguf"), repo.join("mmproj-F16.gguf")).unwrap();
    fs::copy(demo("demo-q4_k_m.gguf"), own.join("alone.gguf")).unwrap();
    let models = list(&home);
    let found =
        |model: &Value| (model["name"].as_str().unwrap().to_owned(), model["source"].as_str().unwrap().to_owned());
    let alone = own.join("alone.gguf").display().to_string();
    let mut expected = [alone, "someone/Mine-GGUF:Q4_K_M".into()].map(|name| (name, "qwen-edge".to_owned()));
    expected.sort();
    assert_eq!(models.iter().map(found).collect::<Vec<_>>(), expected);
    let output = run(&home, "someone/Mine-GGUF");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "2+3=5");
    // What somebody put there is not this program's to remove.
    let output = at_home(&home).args(["rm", "someone/Mine-GGUF", "--yes"]).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(
        told.contains("was not fetched by this program and stays") && repo.join("mine-Q4_K_M.gguf").exists(),
        "{told}"
    );
}

#[test]
fn what_is_said_to_stand_beside_the_weights_is_what_the_plan_of_such_a_file_counts() {
    use qwen_edge::engine::load::mapped_load;
    use qwen_edge::engine::plan::Plan;
    use qwen_edge::engine::runner::Settings;
    use qwen_edge::gguf::Gguf;
    use qwen_edge::model::Config;
    use qwen_edge::model::kv_type::KvType;
    use qwen_edge::store::fit::Room;
    use qwen_edge::synth::{Dims, Options, Quant, Size, Synth};
    let home = Scratch::new("names");
    for size in [Size::B0_8, Size::B2, Size::B4, Size::B9, Size::B27, Size::B35A3] {
        let dims = Dims::of(size);
        let name = format!("Qwen3.5-{}-Q4_K_M.gguf", dims.label);
        let synth =
            Synth::text_without_vocab(&Options { dims, quant: Quant::Q4_K_M, mtp: false, newer: false, seed: 1 });
        let path = home.write(&name, synth.header());
        // Its weights are a hole.
        fs::File::options().write(true).open(&path).unwrap().set_len(synth.file_bytes()).unwrap();
        let gguf = Gguf::open(&path).unwrap();
        let config = Config::from_gguf(&gguf).unwrap();
        for threads in [1, 8] {
            let settings = Settings { n_ctx: 8_192, n_sequence: 1, n_batch: 512, kv: KvType::F16, n_checkpoint: 2 };
            let plan = Plan::unlimited(&mapped_load(&gguf, &config, threads), settings);
            let (said, planned) = (Room::of(None, threads).beside(&name), plan.total() - plan.weights);
            // Meanwhile the process itself, with the other tests in it, takes more or less.
            assert!(said.abs_diff(planned) < 16 << 20, "{name}, {threads} threads: {said} and {planned}");
        }
    }
}

#[test]
#[cfg(unix)]
fn what_is_not_there_is_told_and_a_path_is_a_path() {
    let home = Scratch::new("names");
    fill_hub(&home, "a/b", &[("c-Q8_0.gguf", home.0.join("gone"))]);
    for (model, why) in [
        ("qwen3.5:4b", "qwen3.5:4b is not on this machine"),
        ("a/b:Q4_0", "a/b:Q4_0 is not on this machine"),
        ("a/b", "a/b is not complete"),
        ("ollama:x:y", "ollama:x:y is not on this machine"),
        ("a/../b:c", "no such file"),
        ("nobody/model.gguf", "no such file"),
        ("model", "no such file"),
    ] {
        let output = run(&home, model);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && told.contains(why), "{model}: {told}");
    }
}
