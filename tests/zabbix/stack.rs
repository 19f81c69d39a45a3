//! A Zabbix server with its database and its frontend, on the loopback of the namespace of the test, as Debian ships them.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::agent::as_zabbix;
use crate::release::Release;
use crate::support::service::{Service, answers, http};
use crate::support::{has_program, run, text};

const DATABASE_PORT: u16 = 5_544;
const FRONTEND_PORT: u16 = 8_090;
const SERVER_PORT: u16 = 10_051;

/// Where Debian keeps the programs of the database, of the newest version.
fn database_programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?.filter_map(Result::ok);
    let bins = versions.map(|version| version.path().join("bin")).filter(|bin| bin.join("initdb").exists());
    bins.max()
}

/// Why there can be no server of this release here.
pub(crate) fn missing(release: Release) -> Option<String> {
    let programs = ["php", "psql", "zcat"];
    let absent = programs.into_iter().find(|program| !has_program(program)).map(|name| format!("the program `{name}`"));
    let paths = [release.frontend(), release.schema()];
    let files = paths.iter().find(|path| !path.exists()).map(|path| path.display().to_string());
    let database = database_programs().is_none().then(|| "a PostgreSQL server".to_owned());
    let others = absent.or(files).or(database).map(|what| format!("needs {what}"));
    release.missing(&["zabbix_server", "zabbix_agentd"]).or(others)
}

/// Waits longer than tests do: a server has to start, and to poll.
pub(crate) fn wait_for<T>(what: &str, mut seen: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(seen) = seen() {
            return seen;
        }
        assert!(start.elapsed() < Duration::from_secs(240), "waited 240 s for: {what}");
        std::thread::sleep(Duration::from_millis(400));
    }
}

/// The running server.
pub(crate) struct Stack {
    release: Release,
    session: String,
    server: Option<Service>,
    _services: [Service; 2],
    dir: tempfile::TempDir,
}

impl Stack {
    /// Starts all of it and signs in.
    pub(crate) fn start(release: Release) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        fs::set_permissions(dir.path(), Permissions::from_mode(0o777)).expect("chmod");
        let database = start_database(dir.path());
        fill_database(&release.schema());
        let server = Some(start_server(release, dir.path()));
        let services = [start_frontend(&release.frontend(), dir.path()), database];
        let mut stack = Self { release, session: String::new(), server, _services: services, dir };
        let asked = json!({"username": "Admin", "password": "zabbix"});
        let session = wait_for("the frontend", || stack.try_call("user.login", &asked).ok());
        stack.session = session.as_str().expect("a session").to_owned();
        stack
    }

    /// Which Zabbix it is.
    pub(crate) fn release(&self) -> Release {
        self.release
    }

    /// A directory that everybody may write to.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// What the server logged.
    pub(crate) fn log(&self) -> String {
        logged(self.dir(), "server.log")
    }

    /// Changes the database while the server, which remembers what it has read, is down.
    pub(crate) fn change_database(&mut self, statements: &str) {
        self.server = None;
        as_superuser("zabbix", statements);
        self.server = Some(start_server(self.release, self.dir()));
    }

    /// Calls the API; it must answer.
    pub(crate) fn call(&self, method: &str, params: &Value) -> Value {
        let said = || params.to_string().chars().take(300).collect::<String>();
        self.try_call(method, params).unwrap_or_else(|error| panic!("{method} {}: {error}", said()))
    }

    /// Calls the API.
    fn try_call(&self, method: &str, params: &Value) -> Result<Value, String> {
        let mut request = json!({"jsonrpc": "2.0", "method": method, "params": params, "id": 1});
        let mut headers = String::new();
        if !self.session.is_empty() {
            match self.release {
                Release::Six => request["auth"] = json!(self.session),
                Release::Seven => headers = format!("Authorization: Bearer {}\r\n", self.session),
            }
        }
        let answer = http(FRONTEND_PORT, "POST /api_jsonrpc.php", &headers, &request.to_string());
        let mut answer: Value = serde_json::from_str(&answer).map_err(|error| format!("{error}: {answer:.500}"))?;
        match answer.get("error") {
            Some(error) => Err(error.to_string()),
            None => Ok(answer["result"].take()),
        }
    }
}

fn start_database(dir: &Path) -> Service {
    let bin = database_programs().expect("it was looked for");
    let data = dir.join("database");
    fs::create_dir(&data).expect("made");
    run("chown", &["postgres", data.to_str().expect("a plain path")]);
    let as_postgres = |program: &str| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(bin.join(program));
        command.arg("-D").arg(&data).current_dir("/").stdout(Stdio::null()).stderr(log(dir, "database.log"));
        command
    };
    let made =
        as_postgres("initdb").args(["-A", "trust", "-U", "postgres", "--no-sync", "-E", "UTF8", "--locale=C"]).status();
    assert!(made.expect("initdb starts").success(), "{}", logged(dir, "database.log"));
    let mut server = as_postgres("postgres");
    server.args(["-h", "127.0.0.1", "-p", &DATABASE_PORT.to_string(), "-k", "", "-c", "fsync=off"]);
    server.args(["-c", "full_page_writes=off", "-c", "synchronous_commit=off"]);
    let service = Service::start(&mut server);
    wait_for("the database", || answers(DATABASE_PORT).then_some(()));
    service
}

fn psql(user: &str, database: &str) -> Command {
    let mut command = Command::new("psql");
    command.args(["-q", "-1", "-X", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", &DATABASE_PORT.to_string()]);
    command.args(["-U", user, database]).stdout(Stdio::null());
    command
}

fn as_superuser(database: &str, statement: &str) {
    let run = || {
        let mut command = Command::new("psql");
        command.args([
            "-q",
            "-X",
            "-h",
            "127.0.0.1",
            "-p",
            &DATABASE_PORT.to_string(),
            "-U",
            "postgres",
            "-c",
            statement,
        ]);
        let output = command.arg(database).output().expect("psql starts");
        (!text(&output.stderr).contains("starting up")).then_some(output)
    };
    let done = wait_for("the database", run);
    assert!(done.status.success(), "{statement}: {}", text(&done.stderr));
}

fn fill_database(schema: &Path) {
    as_superuser("postgres", "create role zabbix login");
    as_superuser("postgres", "create database zabbix owner zabbix");
    for part in ["schema", "images", "data"] {
        let mut unpack = Command::new("zcat")
            .arg(schema.join(format!("{part}.sql.gz")))
            .stdout(Stdio::piped())
            .spawn()
            .expect("zcat starts");
        let input = unpack.stdout.take().expect("a pipe");
        let output = psql("zabbix", "zabbix").stdin(input).stderr(Stdio::piped()).output().expect("psql starts");
        assert!(
            unpack.wait().expect("it ends").success() && output.status.success(),
            "{part}: {}",
            text(&output.stderr)
        );
    }
    // Without it some queries of the frontend take minutes, until the database has come round to it.
    as_superuser("zabbix", "analyze");
}

fn start_server(release: Release, dir: &Path) -> Service {
    let name = dir.display();
    let config = dir.join("server.conf");
    let content = format!(
        "ListenIP=127.0.0.1\nListenPort={SERVER_PORT}\nDBHost=127.0.0.1\nDBPort={DATABASE_PORT}\nDBName=zabbix\nDBUser=zabbix\n\
         LogType=file\nLogFile={name}/server.log\nPidFile={name}/server.pid\nSocketDir={name}\nCacheUpdateFrequency=1\n\
         StartPollers=2\nStartPollersUnreachable=1\nStartPingers=0\nStartDiscoverers=0\nStartHTTPPollers=0\nStartTrappers=2\n\
         StartPreprocessors=1\nStartTimers=1\nStartEscalators=1\nStartAlerters=1\nUnreachableDelay=1\nUnavailableDelay=1\n"
    );
    fs::write(&config, content).expect("written");
    let mut command = as_zabbix(release.program("zabbix_server", dir));
    Service::start(command.arg("-f").arg("-c").arg(config).stdout(Stdio::null()).stderr(Stdio::null()))
}

/// A copy of the frontend with a configuration of its own: Debian's reads one file of the whole host.
fn start_frontend(frontend: &Path, dir: &Path) -> Service {
    let web = dir.join("web");
    run("cp", &["-r", frontend.to_str().expect("a plain path"), web.to_str().expect("a plain path")]);
    let config = web.join("conf/zabbix.conf.php");
    let content = format!(
        "<?php\n$DB = ['TYPE' => 'POSTGRESQL', 'SERVER' => '127.0.0.1', 'PORT' => '{DATABASE_PORT}', 'DATABASE' => 'zabbix', \
         'USER' => 'zabbix', 'PASSWORD' => '', 'SCHEMA' => '', 'ENCRYPTION' => false, 'KEY_FILE' => '', 'CERT_FILE' => '', \
         'CA_FILE' => '', 'VERIFY_HOST' => false, 'CIPHER_LIST' => '', 'VAULT_URL' => '', 'VAULT_DB_PATH' => '', \
         'VAULT_TOKEN' => '', 'DOUBLE_IEEE754' => true];\n$ZBX_SERVER = '127.0.0.1';\n$ZBX_SERVER_PORT = '{SERVER_PORT}';\n\
         $ZBX_SERVER_NAME = 'test';\n$IMAGE_FORMAT_DEFAULT = IMAGE_FORMAT_PNG;\n"
    );
    fs::write(&config, content).expect("written");
    let reader = web.join("include/classes/core/CConfigFile.php");
    let code = fs::read_to_string(&reader).expect("the frontend reads its configuration");
    let code = code.replace("'/etc/zabbix/zabbix.conf.php'", &format!("'{}'", config.display()));
    fs::write(&reader, code).expect("written");
    let mut command = Command::new("php");
    command.args(["-d", "memory_limit=512M", "-d", "date.timezone=UTC", "-d", "max_execution_time=300"]);
    command.args(["-S", &format!("127.0.0.1:{FRONTEND_PORT}"), "-t"]).arg(&web);
    let service = Service::start(command.stdout(Stdio::null()).stderr(log(dir, "frontend.log")));
    wait_for("the frontend", || answers(FRONTEND_PORT).then_some(()));
    service
}

fn log(dir: &Path, name: &str) -> File {
    File::options().create(true).append(true).open(dir.join(name)).expect("a log")
}

fn logged(dir: &Path, name: &str) -> String {
    fs::read_to_string(dir.join(name)).unwrap_or_default()
}
