//! Text that looks like code, YAML, JSON or prose, and compresses like it.
//!
//! A file is made of passages with gaps, which are filled with words, names and numbers. Names come from a stock that
//! belongs to the file, for a file speaks of few things many times.

use super::Random;

/// What kind of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A Kubernetes manifest.
    Manifest,
    /// A custom resource definition: long, and much the same all over.
    Definition,
    /// A template of a Helm chart.
    Template,
    /// Values of a Helm chart.
    Values,
    /// A program.
    Code,
    /// A dashboard or other document.
    Json,
    /// A README.
    Prose,
    /// What a program has noted of one thing.
    Record,
}

/// Writes texts, one after another, into a buffer that it keeps.
pub struct Text {
    random: Random,
    names: Vec<String>,
    out: Vec<u8>,
}

impl Text {
    pub fn new() -> Self {
        Self { random: Random::new(0), names: Vec::new(), out: Vec::new() }
    }

    /// A text of exactly `size` bytes, always the same for the same seed.
    pub fn write(&mut self, kind: Kind, seed: u64, size: u64) -> &[u8] {
        let size = size as usize;
        let (passages, names) = kind.stock();
        self.random = Random::new(seed);
        self.out.clear();
        self.names.clear();
        for _ in 0..names {
            let name = self.new_name();
            self.names.push(name);
        }
        while self.out.len() < size {
            let passage = passages[self.random.below(passages.len() as u64) as usize];
            self.fill(passage);
        }
        self.out.truncate(size);
        if let Some(last) = self.out.last_mut() {
            *last = b'\n';
        }
        &self.out
    }

    fn new_name(&mut self) -> String {
        let mut name = word(&mut self.random).to_owned();
        for _ in 0..self.random.below(3) {
            let word = word(&mut self.random);
            name.push_str(&word[..1].to_ascii_uppercase());
            name.push_str(&word[1..]);
        }
        name
    }

    /// Writes a passage. `~w` is a word, `~i` a name of this file, `~T` the same with a capital, `~n` a small number,
    /// `~p` a port, `~h` eight hexadecimal digits, `~s` a sentence.
    fn fill(&mut self, passage: &str) {
        let mut parts = passage.split('~');
        self.out.extend_from_slice(parts.next().unwrap_or_default().as_bytes());
        for part in parts {
            match part.as_bytes()[0] {
                b'w' => self.out.extend_from_slice(word(&mut self.random).as_bytes()),
                b'i' => self.name(false),
                b'T' => self.name(true),
                b'n' => self.number(2, 100),
                b'p' => self.number(1024, 9000),
                b'h' => self.hexadecimal(),
                b's' => self.sentence(),
                other => unreachable!("no such gap: {other}"),
            }
            self.out.extend_from_slice(&part.as_bytes()[1..]);
        }
    }

    fn name(&mut self, capital: bool) {
        let name = &self.names[self.random.index(self.names.len())];
        let start = self.out.len();
        self.out.extend_from_slice(name.as_bytes());
        if capital {
            self.out[start].make_ascii_uppercase();
        }
    }

    fn number(&mut self, from: u64, to: u64) {
        let number = from + self.random.below(to - from);
        self.out.extend_from_slice(number.to_string().as_bytes());
    }

    fn hexadecimal(&mut self) {
        let mut bits = self.random.next();
        for _ in 0..8 {
            self.out.push(b"0123456789abcdef"[(bits & 15) as usize]);
            bits >>= 4;
        }
    }

    fn sentence(&mut self) {
        let start = self.out.len();
        for _ in 0..5 + self.random.below(9) {
            let word =
                if self.random.below(2) == 0 { LINKS[self.random.index(LINKS.len())] } else { word(&mut self.random) };
            self.out.extend_from_slice(word.as_bytes());
            self.out.push(b' ');
        }
        self.out[start].make_ascii_uppercase();
        self.out.pop();
        self.out.push(b'.');
    }
}

/// Any word, the first of the list more often than the last.
pub fn word(random: &mut Random) -> &'static str {
    WORDS[random.index(WORDS.len())]
}

impl Kind {
    /// The passages that such a text is made of, and how many names it uses.
    fn stock(self) -> (&'static [&'static str], usize) {
        match self {
            Self::Manifest => (MANIFEST, 5),
            Self::Definition => (DEFINITION, 24),
            Self::Template => (TEMPLATE, 20),
            Self::Values => (VALUES, 60),
            Self::Code => (CODE, 300),
            Self::Json => (JSON, 30),
            Self::Prose => (PROSE, 40),
            Self::Record => (RECORD, 40),
        }
    }
}

const MANIFEST: &[&str] = &[
    "---\napiVersion: v1\nkind: Service\nmetadata:\n  name: ~i\n  labels:\n    app.kubernetes.io/name: ~i\nspec:\n  \
     selector:\n    app.kubernetes.io/name: ~i\n  ports:\n    - name: http\n      port: ~n\n      targetPort: ~p\n",
    "---\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: ~i-settings\ndata:\n  ~w.~w: \"~n\"\n  ~w.~w: ~i\n  \
     ~i.conf: |\n    # ~s\n    listen = 0.0.0.0:~p\n    ~w_~w = ~i\n    ~w_timeout = ~ns\n",
    "---\napiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: ~i\nspec:\n  replicas: ~n\n  selector:\n    \
     matchLabels:\n      app.kubernetes.io/name: ~i\n  template:\n    metadata:\n      labels:\n        \
     app.kubernetes.io/name: ~i\n    spec:\n      containers:\n        - name: ~i\n          image: \
     registry.example.com/~w/~i:1.~n.~n\n          args: [--~w=~i, --~w-~w]\n          ports:\n            - name: \
     http\n              containerPort: ~p\n          resources:\n            requests:\n              cpu: ~n0m\n      \
     \x20       memory: ~nMi\n",
    "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: ~i-~w\nspec:\n  podSelector:\n    \
     matchLabels:\n      app.kubernetes.io/name: ~i\n  ingress:\n    - from:\n        - namespaceSelector:\n            \
     matchLabels:\n              kubernetes.io/metadata.name: ~w\n      ports:\n        - port: ~p\n",
];

const DEFINITION: &[&str] = &[
    "                  ~i:\n                    description: ~s\n                    type: string\n",
    "                  ~i:\n                    description: |-\n                      The ~w of the ~i, in ~ws.\n                      More than ~n are refused.\n\
     \x20                   format: int32\n                    minimum: ~n\n                    type: integer\n",
    "                  ~i:\n                    description: List of ~ws of this ~i.\n                    items:\n                      \
     type: string\n                    type: array\n                    x-kubernetes-list-type: atomic\n",
    "                  ~i:\n                    description: ~s\n                    properties:\n                      \
     ~i:\n                        default: ~w\n                        enum:\n                        - ~w\n\
     \x20                       - ~w\n                        type: string\n                      name:\n\
     \x20                       maxLength: 253\n                        type: string\n                    required:\n\
     \x20                   - name\n                    type: object\n",
];

const TEMPLATE: &[&str] = &[
    "{{- if .Values.~i.enabled }}\n---\napiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: {{ include \
     \"~i.fullname\" . }}-~w\n  labels:\n    {{- include \"~i.labels\" . | nindent 4 }}\n{{- end }}\n",
    "          {{- with .Values.~i.~w }}\n          ~w:\n            {{- toYaml . | nindent 12 }}\n          {{- end }}\n",
    "            - name: ~T_~T\n              valueFrom:\n                secretKeyRef:\n                  name: {{ \
     .Values.~i.existingSecret | quote }}\n                  key: ~i-~w\n",
    "            - name: ~T_~w\n              value: {{ .Values.~i.~i | default \"~w\" | quote }}\n",
    "      annotations:\n        checksum/~w: {{ include (print $.Template.BasePath \"/~w.yaml\") . | sha256sum }}\n",
    "          livenessProbe:\n            httpGet:\n              path: /~w/~w\n              port: {{ \
     .Values.~i.service.port }}\n            initialDelaySeconds: ~n\n            periodSeconds: ~n\n",
    "  # ~s\n  {{- range $key, $value := .Values.~i.~w }}\n  {{ $key }}: {{ $value | quote }}\n  {{- end }}\n",
];

const VALUES: &[&str] = &[
    "## ~s\n## ~s\n~i:\n  enabled: true\n  image:\n    repository: registry.example.com/~w/~i\n    tag: ~n.~n.~n\n",
    "  ## @param ~i.~w ~s\n  ##\n  ~w: ~i\n",
    "  resources:\n    requests:\n      cpu: ~n0m\n      memory: ~nMi\n    limits:\n      memory: ~nMi\n",
    "  ~w:\n    ~w: \"~w-~h\"\n    ~i: ~n\n    ~w: []\n",
    "  service:\n    type: ClusterIP\n    port: ~p\n    annotations: {}\n",
    "  # ~s\n  ~w-~w: ~p\n",
];

const CODE: &[&str] = &[
    "// ~s ~s\n// ~s\nvar ~T~T = []byte(\"~h~h~h\")\n\n",
    "\t~i := ~T{~T: ~i.~T, ~T: ~p, ~T: \"~w ~w ~w\"}\n\t~w = ~i.~T(~i, ~w+~i*~p)\n",
    "// ~T ~s\n// ~s\nfunc (~w *~T) ~T(ctx context.Context, ~i *~T) error {\n\tif ~i == nil {\n\t\treturn \
     fmt.Errorf(\"~w ~w: %w\", err)\n\t}\n",
    "\t~i, err := ~i.~T(ctx, ~i)\n\tif err != nil {\n\t\treturn nil, fmt.Errorf(\"~w ~w ~w: %w\", err)\n\t}\n",
    "\tfor _, ~i := range ~i.~T {\n\t\t~i.~T = append(~i.~T, ~i)\n\t\tif len(~i) > ~n && ~i.~w != ~w {\n\t\t\tcontinue\n\
     \t\t}\n\t}\n",
    "\t// ~s\n\t~i.~T = ~i(~i, ~w, ~n)\n\t~i += ~i.~T[~n] ^ 0x~h\n",
    "\tswitch ~i.~T() {\n\tcase ~T~T:\n\t\treturn ~i.~w(~i), nil\n\tcase ~T:\n\t\t~i = ~i\n\tdefault:\n\t\tlog.Printf(\"~s\
     \", ~i)\n\t}\n",
    "\t// ~s\n\t// ~s ~s\n\treturn ~i, nil\n}\n\n",
    "type ~T struct {\n\t~T    ~T `json:\"~w,omitempty\"`\n\t~T []*~T // ~s\n\t~w   map[string]~T\n}\n\n",
    "\t\t{name: \"~w ~w ~w\", ~w: ~n, want: \"~h~h\", ~i: ~T{~T: ~n, ~w: ~p}},\n",
];

const JSON: &[&str] = &[
    "      \"~i\": {\n        \"title\": \"~s\",\n        \"type\": \"~w\",\n        \"id\": \"~h\",\n        \"gridPos\": \
     {\"x\": ~n, \"y\": ~n, \"w\": ~n, \"h\": ~n},\n        \"enabled\": true\n      },\n",
    "      \"~i\": [\n        {\"name\": \"~w\", \"value\": ~p},\n        {\"name\": \"~i\", \"value\": ~n}\n      ],\n",
    "          \"expr\": \"sum by (~w) (rate(~i_~w_total{~w=\\\"~w\\\"}[~nm]))\",\n          \"legendFormat\": \"{{~w}}\",\n",
];

const PROSE: &[&str] = &[
    "~s ~s ~s\n~s\n\n",
    "## ~T ~w\n\n~s ~s\n\n",
    "| `~i.~w` | ~s | `~n` |\n",
    "- **~w ~w**: ~s ~s\n",
    "```sh\n~w --~w=~i --~w ~n ~w/~w.yaml\n```\n\n",
];

const RECORD: &[&str] = &[
    "~i: ~h~h\n~w: ~s\n",
    "~w:\n  - id: ~h-~h\n    ~w: ~i\n    ~w: ~p\n",
    "~w_~w: ~i\n~w: ~p.~n\n",
    "# ~s ~s\n~w: [~w, ~i, ~w]\n",
];

/// Words that hold sentences together.
#[rustfmt::skip]
const LINKS: &[&str] = &[
    "the", "of", "a", "to", "is", "in", "and", "that", "for", "be", "if", "not", "it", "this", "with", "when", "must",
    "by", "on", "are", "or", "which", "from", "as", "can", "an", "will", "only", "all", "no", "its", "has", "each",
];

/// What programs and their configuration speak of.
#[rustfmt::skip]
const WORDS: &[&str] = &[
    "name", "value", "config", "status", "server", "client", "request", "response", "error", "node", "list", "state",
    "result", "path", "file", "key", "type", "index", "options", "context", "store", "cache", "token", "volume",
    "cluster", "service", "handler", "event", "object", "resource", "version", "label", "group", "policy", "metric",
    "queue", "worker", "stream", "buffer", "reader", "writer", "source", "target", "parent", "child", "count", "limit",
    "timeout", "interval", "retry", "backend", "proxy", "route", "header", "body", "field", "schema", "table", "column",
    "record", "entry", "block", "chunk", "offset", "length", "size", "digest", "signature", "secret", "account", "user",
    "role", "session", "lease", "lock", "shard", "replica", "leader", "member", "peer", "address", "port", "host",
    "domain", "zone", "region", "network", "subnet", "gateway", "ingress", "certificate", "issuer", "chain", "bundle",
    "layer", "image", "tag", "registry", "manifest", "archive", "upload", "download", "transfer", "progress",
    "worktree", "branch", "commit", "change", "patch", "merge", "conflict", "review", "release", "build", "test",
    "suite", "fixture", "report", "summary", "alert", "rule", "match", "filter", "selector", "pattern", "prefix",
    "suffix", "parser", "lexer", "syntax", "tree", "graph", "edge", "vertex", "weight", "score", "rank", "order",
    "batch", "window", "frame", "sample", "trace", "span", "log", "level", "message", "topic", "broker", "consumer",
    "producer", "subscription", "delivery", "payment", "invoice", "basket", "product", "price", "currency", "customer",
    "shipment", "stock", "warehouse", "schedule", "calendar", "timer", "clock", "deadline", "duration", "delay",
    "window", "rate", "budget", "quota", "usage", "memory", "storage", "disk", "snapshot", "backup", "restore",
    "migration", "upgrade", "rollout", "canary", "probe", "health", "ready", "alive", "startup", "shutdown", "signal",
    "process", "thread", "future", "promise", "channel", "select", "spawn", "join", "yield", "await", "render",
    "layout", "widget", "panel", "chart", "axis", "legend", "theme", "color", "font", "glyph", "locale", "translation",
    "plural", "format", "template", "partial", "include", "import", "export", "module", "package", "crate", "vendor",
    "license", "notice", "author", "owner", "reviewer", "approval", "audit", "trail", "evidence", "finding", "severity",
    "exploit", "mitigation", "sandbox", "namespace", "capability", "privilege", "permission", "access", "grant",
    "revoke", "rotate", "expire", "renew",
];
