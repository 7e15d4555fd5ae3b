//! Keys with which a test issues tokens.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PSS_SHA256,
    RsaEncoding, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// A key pair of an issuer, which signs by other means than the code under test.
#[derive(Debug)]
pub struct IssuerKey {
    id: String,
    pair: Pair,
}

#[derive(Debug)]
enum Pair {
    Rsa(Box<RsaKeyPair>),
    Ec(EcdsaKeyPair),
}

impl IssuerKey {
    /// A new RSA key of 2048 bits, for `RS256` and `PS256`.
    pub fn rsa(id: &str) -> Self {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).expect("an RSA key");
        Self {
            id: id.to_owned(),
            pair: Pair::Rsa(Box::new(pair)),
        }
    }

    /// A new key on the curve P-256, for `ES256`.
    pub fn ec(id: &str) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("an EC key");
        Self {
            id: id.to_owned(),
            pair: Pair::Ec(pair),
        }
    }

    /// The public key as a JSON Web Key (RFC 7517), with its id and for signatures.
    pub fn jwk(&self) -> Value {
        let public = self.public();
        let mut key = match &self.pair {
            Pair::Rsa(_) => {
                // RSAPublicKey (RFC 8017): 9 bytes of headers, the modulus, 2 bytes of header, the exponent.
                assert_eq!(public.len(), 9 + 256 + 5, "an RSA key of 2048 bits");
                json!({"kty": "RSA", "n": base64(&public[9..265]), "e": base64(&public[267..])})
            }
            // An uncompressed point (SEC 1): 4, x, y.
            Pair::Ec(_) => {
                json!({"kty": "EC", "crv": "P-256", "x": base64(&public[1..33]), "y": base64(&public[33..])})
            }
        };
        key["kid"] = json!(self.id);
        key["use"] = json!("sig");
        key
    }

    /// The public key in its binary form: `RSAPublicKey` or a point.
    pub fn public(&self) -> Vec<u8> {
        match &self.pair {
            Pair::Rsa(pair) => pair.public_key().as_ref().to_vec(),
            Pair::Ec(pair) => pair.public_key().as_ref().to_vec(),
        }
    }

    /// A token with these claims, signed by `RS256`, `PS256` or `ES256`, that names this key.
    pub fn token(&self, algorithm: &str, claims: &Value) -> String {
        let header = json!({"typ": "JWT", "alg": algorithm, "kid": self.id});
        self.sign(algorithm, &header, claims)
    }

    /// The same with any header.
    pub fn sign(&self, algorithm: &str, header: &Value, claims: &Value) -> String {
        let part = |value: &Value| base64(value.to_string().as_bytes());
        let message = format!("{}.{}", part(header), part(claims));
        let random = SystemRandom::new();
        let signature = match (&self.pair, algorithm) {
            (Pair::Rsa(pair), "RS256") => rsa(pair, &RSA_PKCS1_SHA256, &message),
            (Pair::Rsa(pair), "PS256") => rsa(pair, &RSA_PSS_SHA256, &message),
            (Pair::Ec(pair), "ES256") => {
                let signature = pair.sign(&random, message.as_bytes()).expect("a signature");
                signature.as_ref().to_vec()
            }
            _ => panic!("no key for {algorithm}"),
        };
        format!("{message}.{}", base64(&signature))
    }
}

fn rsa(pair: &RsaKeyPair, encoding: &'static dyn RsaEncoding, message: &str) -> Vec<u8> {
    let mut signature = vec![0; pair.public_modulus_len()];
    let random = SystemRandom::new();
    pair.sign(encoding, &random, message.as_bytes(), &mut signature)
        .expect("a signature");
    signature
}

fn base64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
