//! Issuers outside, as Keycloak is one: keys, tokens, and a key set at a URL.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
    RsaPublicKeyComponents,
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use vinbus_host_server::bus::Algorithm;

/// Its `iss`, as Keycloak writes it.
pub(crate) const ISSUER: &str = "https://issuer.example/realms/sermas";

/// An RSA key of these tests alone: it takes long to make one.
const RSA: &[u8] = include_bytes!("rsa-2048.pk8");

/// A key of an issuer, by the name `kid`.
pub(crate) struct Key {
    kid: &'static str,
    pair: Pair,
}

enum Pair {
    Es256(EcdsaKeyPair),
    Rs256(RsaKeyPair),
}

impl Key {
    /// A new key for ES256, or the one for RS256.
    pub(crate) fn of(algorithm: Algorithm, kid: &'static str) -> Self {
        let pair = match algorithm {
            Algorithm::Es256 => {
                let (random, curve) = (SystemRandom::new(), &ECDSA_P256_SHA256_FIXED_SIGNING);
                let pkcs8 = EcdsaKeyPair::generate_pkcs8(curve, &random).unwrap();
                Pair::Es256(EcdsaKeyPair::from_pkcs8(curve, pkcs8.as_ref(), &random).unwrap())
            }
            Algorithm::Rs256 => Pair::Rs256(RsaKeyPair::from_pkcs8(RSA).unwrap()),
        };
        Self { kid, pair }
    }

    fn algorithm(&self) -> Algorithm {
        match self.pair {
            Pair::Es256(_) => Algorithm::Es256,
            Pair::Rs256(_) => Algorithm::Rs256,
        }
    }

    /// As it stands in a key set.
    pub(crate) fn jwk(&self) -> Value {
        let mut jwk = match &self.pair {
            Pair::Es256(pair) => {
                let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
                json!({"kty": "EC", "crv": "P-256", "x": BASE64.encode(x), "y": BASE64.encode(y)})
            }
            Pair::Rs256(pair) => {
                let RsaPublicKeyComponents::<Vec<u8>> { n, e } = pair.public().into();
                json!({"kty": "RSA", "n": BASE64.encode(n), "e": BASE64.encode(e)})
            }
        };
        jwk["kid"] = self.kid.into();
        jwk["use"] = "sig".into();
        jwk["alg"] = self.algorithm().name().into();
        jwk
    }

    /// The header of its tokens.
    pub(crate) fn header(&self) -> Value {
        json!({"alg": self.algorithm().name(), "typ": "JWT", "kid": self.kid})
    }

    /// A token with its own header.
    pub(crate) fn token(&self, claims: &Value) -> String {
        self.sign(&self.header(), claims)
    }

    /// A token with any header, but signed by this key.
    pub(crate) fn sign(&self, header: &Value, claims: &Value) -> String {
        let signed = signed_part(header, claims);
        let random = SystemRandom::new();
        let signature = match &self.pair {
            Pair::Es256(pair) => pair
                .sign(&random, signed.as_bytes())
                .unwrap()
                .as_ref()
                .to_vec(),
            Pair::Rs256(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                let algorithm = &RSA_PKCS1_SHA256;
                pair.sign(algorithm, &random, signed.as_bytes(), &mut signature)
                    .unwrap();
                signature
            }
        };
        format!("{signed}.{}", BASE64.encode(signature))
    }

    /// Tokens whose `alg` is HS256, with what everybody knows of this key as the secret: the oldest
    /// trick with tokens, in the forms in which libraries fell for it.
    pub(crate) fn signed_with_what_is_public(&self, claims: &Value) -> Vec<String> {
        let mut header = self.header();
        header["alg"] = "HS256".into();
        let raw = match &self.pair {
            Pair::Es256(pair) => pair.public_key().as_ref().to_vec(),
            Pair::Rs256(pair) => pair.public().as_ref().to_vec(),
        };
        let jwk = self.jwk();
        let text = |member: &str| jwk[member].as_str().unwrap_or_default().as_bytes().to_vec();
        let secrets = [raw, jwk.to_string().into_bytes(), text("x"), text("n")];
        let signed = signed_part(&header, claims);
        let with = |secret: &Vec<u8>| {
            let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
            let signature = hmac::sign(&key, signed.as_bytes());
            format!("{signed}.{}", BASE64.encode(signature))
        };
        secrets
            .iter()
            .filter(|it| !it.is_empty())
            .map(with)
            .collect()
    }
}

/// A key set as it is served; an encryption key stands in it, as in Keycloak's.
pub(crate) fn key_set(keys: &[&Key]) -> Value {
    let encryption = json!({"kty": "RSA", "kid": "enc", "use": "enc", "alg": "RSA-OAEP", "n": "AQAB", "e": "AQAB"});
    let keys = keys.iter().map(|key| key.jwk());
    json!({"keys": std::iter::once(encryption).chain(keys).collect::<Vec<_>>()})
}

/// What Keycloak says of a client that has just logged in.
pub(crate) fn claims() -> Value {
    json!({
        "exp": now() + 600, "iat": now(), "jti": "0b7c", "iss": ISSUER, "aud": ["x", "account"],
        "sub": "7f1e", "typ": "Bearer", "azp": "myapp-dashboard", "acr": "1",
        "allowed-origins": ["/*"], "realm_access": {"roles": ["default-roles-sermas"]},
        "resource_access": {"account": {"roles": ["view-profile"]}}, "scope": "profile email",
        "clientHost": "10.0.0.1", "clientAddress": "10.0.0.1", "email_verified": false,
        "clientId": "myapp-dashboard", "appId": ["none", "myapp"],
        "preferred_username": "service-account-myapp-dashboard",
    })
}

pub(crate) fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap().as_secs()
}

/// What is signed of a token.
pub(crate) fn signed_part(header: &Value, claims: &Value) -> String {
    let part = |json: &Value| BASE64.encode(json.to_string());
    format!("{}.{}", part(header), part(claims))
}

/// A key set at a URL.
pub(crate) struct KeyServer {
    address: SocketAddr,
    said: Arc<Mutex<Said>>,
}

struct Said {
    status: u16,
    body: String,
    requests: usize,
}

impl KeyServer {
    /// Serves these keys.
    pub(crate) async fn start(keys: &[&Key]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let said = Arc::new(Mutex::new(Said {
            status: 200,
            body: key_set(keys).to_string(),
            requests: 0,
        }));
        tokio::spawn(serve(listener, Arc::clone(&said)));
        Self { address, said }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/realms/sermas/certs", self.address)
    }

    /// Answers with this from now on.
    pub(crate) fn say(&self, status: u16, body: &Value) {
        let mut said = self.said.lock().unwrap();
        (said.status, said.body) = (status, body.to_string());
    }

    /// How often it was asked.
    pub(crate) fn requests(&self) -> usize {
        self.said.lock().unwrap().requests
    }
}

async fn serve(listener: TcpListener, said: Arc<Mutex<Said>>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let answer = {
            let mut said = said.lock().unwrap();
            said.requests += 1;
            let Said { status, body, .. } = &*said;
            let length = body.len();
            format!(
                "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
            )
        };
        // Who goes away before the answer does not matter.
        let _ = reply(stream, &answer).await;
    }
}

async fn reply(mut stream: TcpStream, answer: &str) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}
