// Nothing is asked of another server: no validator, and the document comes from beside this page.
SwaggerUIBundle({ url: "../openapi.json", dom_id: "#page", deepLinking: true, validatorUrl: null });
